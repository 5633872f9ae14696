"""Imports what nova's API is made of, without starting any of it."""

import gc

import nova.api.openstack.auth
import nova.api.openstack.compute.routes
import nova.api.openstack.identity
import nova.api.openstack.urlmap
import nova.api.openstack.wsgi_app  # noqa: F401

gc.freeze()  # a collection in a worker would write to every shared page
