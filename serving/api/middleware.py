"""WSGI environment fixes between the proxy and the routes: path prefix, forwarded scheme, metrics port."""

from collections.abc import Callable, Iterable
from typing import Any

from serving.api.client_connection import Environ

METRICS = "/metrics"
# Paths of health checks, in all protocols.
HEALTH_PATHS = ("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
# Paths that the metrics port serves as well, for monitoring that reaches only that port.
HEALTH = ("/livez", "/readyz")
SCHEMES = ("http", "https")


def strip_prefix(environ: Environ, prefix: str) -> None:
    """Removes the prefix from the path, unless a proxy has done so. Generated links always have it."""
    if prefix:
        path = environ["PATH_INFO"]
        environ["SCRIPT_NAME"] = prefix
        if path.startswith(prefix) and path[len(prefix) :][:1] in ("", "/"):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"


def is_on_its_port(environ: Environ, metrics_port: int) -> bool:
    """Is the path served on the port of the request? With a metrics port, /metrics is only there."""
    if not metrics_port:
        return True
    path = environ["PATH_INFO"]
    if environ["SERVER_PORT"] == str(metrics_port):
        return path == METRICS or path in HEALTH
    return bool(path != METRICS)


class ForwardedSchemeFilter:
    """Ignores an X-Forwarded-Proto other than http and https. Goes inside a `ProxyFix`."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Restores the original scheme, which `ProxyFix` has kept, if the forwarded one is unknown."""
        scheme = environ["wsgi.url_scheme"].lower()
        original: Environ = environ["werkzeug.proxy_fix.orig"]
        environ["wsgi.url_scheme"] = scheme if scheme in SCHEMES else original["wsgi.url_scheme"]
        return self._app(environ, start_response)
