"""Nova's compute API in one worker."""

import eventlet.hubs

eventlet.hubs.use_hub()  # of its own: that of the first process waits on a file descriptor which all would share

from nova.wsgi.osapi_compute import application  # noqa: E402, F401
