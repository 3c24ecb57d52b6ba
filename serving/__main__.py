"""`python -m serving`: serves the pinned model. The environment tells the rest, see serving/config.py."""

import socket
import sys

from serving.artifact.release import find_release
from serving.config import Settings, variable
from serving.cpu_count import available
from serving.errors import ServingError
from serving.server.gunicorn_app import Server
from serving.server.memory import keep


class AddressTaken(ServingError):
    """Nothing can listen where this server should."""

    code = "address_taken"

    def __init__(self, settings: Settings, port: int, reason: str) -> None:
        host, other = variable("host"), variable("port" if port == settings.port else "metrics_port")
        super().__init__(
            f"Cannot listen at {settings.address_at(port)} ({reason}): set another {host} or {other}."
        )


def main(arguments: list[str]) -> int:
    """Checks all that can be checked, then starts Gunicorn; 1 and a sentence if something is wrong."""
    # As SageMaker calls every image; there is nothing else that could be meant.
    if arguments not in ([], ["serve"]):
        print(f"{' '.join(arguments)!r} is not known: `serve` is, or nothing.", file=sys.stderr)
        return 2
    try:
        settings = Settings.read()
        release = find_release(settings)
        for port in settings.ports:
            _try_address(settings, port)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    slots = settings.slots or max(1, round(available()))
    keep()
    Server(settings, release, slots).run()
    return 0


def _try_address(settings: Settings, port: int) -> None:
    """Gunicorn would try for five seconds, and say ten times that it cannot."""
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
