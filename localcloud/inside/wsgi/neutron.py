"""Neutron's API in one worker."""

from neutron.wsgi.api import application  # noqa: F401
