"""Entry points of stages and commands: parse arguments, print expected errors, return an exit code."""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir

from pipeline.errors import PipelineError, TemporaryFolderFull
from pipeline.files import is_disk_full
from serving.errors import ServingError


def run_stage(main: Callable[[str], None]) -> None:
    """Runs one stage for the model that the command line names."""
    parser = argparse.ArgumentParser(description=sys.modules[main.__module__].__doc__)
    parser.add_argument("model", help="a section of params.yaml")
    model = parser.parse_args().model
    # Class and file names are printed; characters that the terminal cannot encode are escaped.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run_and_report(lambda: main(model)))


def run_and_report(action: Callable[[], int | None]) -> int:
    """Runs an action and returns its exit code; expected errors are printed to stderr and give 1."""
    try:
        return action() or 0
    except (PipelineError, ServingError, OSError) as error:
        print(f"error: {error}{_free_space(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; no file was left half-written", file=sys.stderr)
        return 130


def _free_space(error: Exception) -> str:
    """For a full disk: the free space of the folders in use. The system's own message often has no path."""
    if isinstance(error, TemporaryFolderFull) or not is_disk_full(error):
        return ""
    places = {str(folder): disk_usage(folder).free for folder in (gettempdir(), Path.cwd())}
    free = ", ".join(f"{folder} has {left / 1e6:,.0f} MB free" for folder, left in places.items())
    return f" ({free}; TMPDIR names another folder for temporary files)"
