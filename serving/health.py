"""`python -m serving.health`: exit code 0 if the server of this machine is ready, for images without curl."""

import sys
from http.client import HTTPConnection, HTTPException

from serving.config import Settings

SECONDS = 3.0


def main() -> int:
    """Asks /readyz; 1 if it says no, says nothing or is not there."""
    connection = HTTPConnection("127.0.0.1", Settings.read().port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
