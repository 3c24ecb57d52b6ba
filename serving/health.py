"""`python -m serving.health`: exit code 0 if the server of this machine is ready, for images without curl."""

import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from serving.config import Settings, SettingsInvalid

SECONDS = 3.0
# Who listens at all addresses is there at its own.
ALL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (not bound)


def main() -> int:
    """Asks /readyz, which is there without any prefix; 1 if it says no, says nothing or is not there."""
    try:
        # Only what is needed to find the server, which may have come to terms with the rest long ago.
        settings = Settings.read(only=("host", "port", "aip_http_port"))
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if _ready(settings.host.strip("[]"), settings.port) else 1


def _ready(host: str, port: int) -> bool:
    try:
        with closing(HTTPConnection(ALL.get(host, host), port, timeout=SECONDS)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    # Not every name can be written as a host.
    except (OSError, HTTPException, UnicodeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
