"""`python -m serving`: serves the pinned models. Settings come from the environment (serving/config.py)."""

import socket
import sys
from importlib import import_module

from serving.artifact.release import find_releases
from serving.config import Settings, variable
from serving.cpu_count import available_cores
from serving.errors import ServingError
from serving.server.gunicorn_app import GunicornApp
from serving.server.memory import configure_malloc, freeze_objects


class AddressTaken(ServingError):
    """The server cannot listen at its address."""

    code = "address_taken"

    def __init__(self, settings: Settings, port: int, reason: str) -> None:
        host, other = variable("host"), variable("port" if port == settings.port else "metrics_port")
        super().__init__(
            f"Cannot listen at {settings.address_at(port)} ({reason}): set another {host} or {other}."
        )


def main(arguments: list[str]) -> int:
    """Checks settings, pin, bundle and ports, then starts Gunicorn. Prints errors and returns 1."""
    # SageMaker starts every image with the argument `serve`.
    if arguments not in ([], ["serve"]):
        print(f"{' '.join(arguments)!r} is not known: `serve` is, or nothing.", file=sys.stderr)
        return 2
    # Before anything large is allocated, and for the workers too.
    configure_malloc()
    try:
        settings = Settings.read()
        releases = find_releases(settings)
        for port in settings.ports:
            _check_address(settings, port)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    # For all workers: see GunicornApp.
    import_module("serving.api.app")
    slots = settings.slots or max(1, round(available_cores()))
    freeze_objects()
    GunicornApp(settings, releases, slots).run()
    return 0


def _check_address(settings: Settings, port: int) -> None:
    """Raises `AddressTaken` at once; Gunicorn would retry for five seconds and log ten errors."""
    try:
        found = socket.getaddrinfo(settings.host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise AddressTaken(settings, port, getattr(error, "strerror", None) or str(error)) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
