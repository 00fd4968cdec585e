"""REST: the edge, authentication, routes, and the server that carries them."""

from attestd.api.server import Service, serve

__all__ = ["Service", "serve"]
