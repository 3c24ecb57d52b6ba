"""How a stage or a command starts and ends: arguments in, a sentence and an exit code out."""

import argparse
import io
import sys
from collections.abc import Callable

from pipeline.errors import PipelineError
from serving.errors import ServingError


def stage(main: Callable[[str], None]) -> None:
    """Runs one stage for the model that the command line names."""
    parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
    parser.add_argument("model", help="a section of params.yaml")
    model = parser.parse_args().model
    # Names of classes and files are printed, whatever the terminal can show.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(guarded(lambda: main(model)))


def guarded(action: Callable[[], int | None]) -> int:
    """Runs an action; what can be expected to go wrong becomes one sentence on stderr and exit code 1."""
    try:
        return action() or 0
    except (PipelineError, ServingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was there before is still whole", file=sys.stderr)
        return 130
