"""`python -m serving`, but the worker lingers over closed connections for minutes instead of seconds."""

import sys

from serving.__main__ import main
from serving.server import connection_lifecycle

if __name__ == "__main__":
    connection_lifecycle.LINGER_SECONDS = 300.0
    sys.exit(main([]))
