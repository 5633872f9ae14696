"""Nova's metadata API in one worker."""

import eventlet.hubs

eventlet.hubs.use_hub()  # see nova.py

from nova.wsgi.metadata import application  # noqa: E402, F401
