"""What stands between proxies and routes: a prefix, schemes that are none, a port for the figures alone."""

from collections.abc import Callable, Iterable
from typing import Any

from serving.api.body_reader import Environ

METRICS = "/metrics"
# What the port for figures answers besides, for whoever watches only that.
HEALTH = ("/livez", "/readyz")
SCHEMES = ("http", "https")


def take_off(environ: Environ, prefix: str) -> None:
    """Takes the prefix off the path, if no proxy has done so yet. Links have it in any case."""
    if prefix:
        path = environ["PATH_INFO"]
        environ["SCRIPT_NAME"] = prefix
        if path.startswith(prefix) and path[len(prefix) :][:1] in ("", "/"):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"


def at_its_port(environ: Environ, metrics_port: int) -> bool:
    """Does a path belong to the port where it was asked for?"""
    if not metrics_port:
        return True
    path = environ["PATH_INFO"]
    if environ["SERVER_PORT"] == str(metrics_port):
        return path == METRICS or path in HEALTH
    return bool(path != METRICS)


class KnownSchemes:
    """Passes over what a proxy says of the scheme if it is not one that this server knows."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """To be put into a `ProxyFix`, which leaves what was there before."""
        said = environ["wsgi.url_scheme"].lower()
        before: Environ = environ["werkzeug.proxy_fix.orig"]
        environ["wsgi.url_scheme"] = said if said in SCHEMES else before["wsgi.url_scheme"]
        return self._app(environ, start_response)
