"""Command-line options and the exit of the benchmark commands that need a built ImageNet project."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

Run = dict[str, Any]


def project_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser with the option `--project`."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="where imagenet was built; default: here"
    )
    return parser


def measure_and_write(measure: Callable[[], Run], write: Callable[[Run], None]) -> int:
    """Measures, then writes the results; returns the exit code.

    `write` shows disturbed results and raises `Disturbed` instead of writing them.
    """
    # SIGTERM raises KeyboardInterrupt, so that context managers stop the contenders too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = measure()
        write(run)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def print_progress(text: str) -> None:
    """Prints one line about the step that runs."""
    print(f"    {text}", flush=True)
