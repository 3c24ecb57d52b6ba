"""`python -m serving`: serves the pinned model. The environment tells the rest, see serving/config.py."""

import sys

from serving.config import Settings
from serving.cores import available
from serving.errors import ServingError
from serving.release import find
from serving.server import Server


def main() -> int:
    """Checks all that can be checked, then starts Gunicorn; 1 and a sentence if something is wrong."""
    try:
        settings = Settings.read()
        release = find(settings)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    slots = settings.slots or max(1, round(available()))
    Server(settings, release, slots).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
