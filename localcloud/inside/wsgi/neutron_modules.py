"""Imports what neutron's API is made of, without starting any of it."""

import gc

import neutron.api.v2.router
import neutron.pecan_wsgi.app
import neutron.plugins.ml2.drivers.ovn.mech_driver.mech_driver
import neutron.plugins.ml2.plugin
import neutron.server.api
import neutron.services.ovn_l3.plugin  # noqa: F401

gc.freeze()  # a collection in a worker would write to every shared page
