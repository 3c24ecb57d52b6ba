"""`python -m serving.health`: exit code 0 if this machine's server is ready, for images without curl."""

import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from serving.config import Settings, SettingsInvalid

TIMEOUT_SECONDS = 3.0
# A server that listens on all addresses is asked on loopback.
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (not bound)


def main() -> int:
    """Requests /readyz, which works without the prefix; 1 if the server is not ready or does not respond."""
    try:
        # Only the settings that locate the server: the others may have changed since it started.
        settings = Settings.read(only=("host", "port", "aip_http_port"))
    except SettingsInvalid as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if _is_ready(settings.host.strip("[]"), settings.port) else 1


def _is_ready(host: str, port: int) -> bool:
    try:
        with closing(HTTPConnection(LOOPBACK.get(host, host), port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    # UnicodeError: the setting cannot be encoded as a host name.
    except (OSError, HTTPException, UnicodeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
