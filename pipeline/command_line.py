"""How a stage or a command starts and ends: arguments in, a sentence and an exit code out."""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir

from pipeline.errors import PipelineError, TemporaryFull
from pipeline.files import is_full
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
        print(f"error: {error}{_where(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was there before is still whole", file=sys.stderr)
        return 130


def _where(error: Exception) -> str:
    """For a disk that is full, which systems often tell without a path: where something could be freed."""
    if isinstance(error, TemporaryFull) or not is_full(error):
        return ""
    places = {str(folder): disk_usage(folder).free for folder in (gettempdir(), Path.cwd())}
    free = ", ".join(f"{folder} has {left / 1e6:,.0f} MB free" for folder, left in places.items())
    return f" ({free}; TMPDIR names another folder for temporary files)"
