"""What the commands have in common: how a measurement is asked for, and how it ends."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving.errors import BenchmarkError

Run = dict[str, Any]


def parser(program: str, description: str, rounds: str, seconds: str) -> argparse.ArgumentParser:
    """The options of all commands; `rounds` and `seconds` say what holds otherwise."""
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    made.add_argument(
        "--project", type=Path, default=Path(), metavar="DIR", help="where imagenet was built; default: here"
    )
    made.add_argument("--rounds", type=int, help=f"default: {rounds}")
    made.add_argument("--seconds", type=float, help=f"of each load; default: {seconds}")
    return made


def carry_out(measure: Callable[[], Run], write: Callable[[Run], None]) -> int:
    """Measures, then writes; 1 and a sentence if something is missing."""
    # Whoever ends the benchmark means the contenders too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = measure()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    write(run)
    return 0
