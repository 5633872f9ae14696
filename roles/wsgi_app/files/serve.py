"""Serve the WSGI application in app.py (PEP 3333) at an address and a port, a thread for each request."""

import importlib.util
import socket
import socketserver
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers several requests at once."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Does not look up names of clients."""

    def address_string(self) -> str:
        """Return the address as it is."""
        return self.client_address[0]


address, port = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location("app", Path(__file__).with_name("app.py"))
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
with Server((address, port), Handler) as server:
    server.set_app(app.application)
    server.serve_forever()
