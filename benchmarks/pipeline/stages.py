"""Where the time of `dvc repro` and `make run` goes: a clone, and the digits from nothing.

DVC starts its stages as `python`. A stand-in of that name notes when each begins and ends, and has Python
note how long it imports; DVC's own time is what is left of the whole.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pipeline.commands import seconds
from tests.pipeline.projects import AUTHOR, copy_of_the_working_tree

MODEL = "digits"
STAGES = ("prepare", "build", "export", "evaluate", "register")
# Its second argument is the stage's module. What a stage says on stderr is kept beside the notes, and said.
STAND_IN = """\
#!/bin/sh
notes="{notes}/$2"
date +%s.%N > "$notes.begin"
PYTHONPROFILEIMPORTTIME=1 "{python}" "$@" 2> "$notes.imports"
code=$?
date +%s.%N > "$notes.end"
grep -v "^import time:" "$notes.imports" >&2
exit $code
"""
# Microseconds of a module itself, without those that it imports in turn.
IMPORT = re.compile(r"^import time: +(\d+) \|", re.MULTILINE)

Seen = dict[str, Any]


def measure(folder: Path, tell: Callable[[str], None]) -> Seen:
    """Runs everything from nothing, and again."""
    project = copy_of_the_working_tree(folder / "project").root
    notes, variables = folder / "notes", surroundings(folder)
    repro = [sys.executable, "-m", "dvc", "repro", f"register@{MODEL}"]
    run = [sys.executable, "-m", "pipeline", "run", MODEL]
    found: Seen = {"stages": [], "commands": {}}
    # A clone has the committed reports, so that `evaluate` would find nothing to do unless it is forced. The
    # second `dvc repro` finds nothing to do; the first `make run` has to pin, the second has not.
    first = [*repro, "--force"]
    for name, command in (("first", first), ("again", repro), ("pinning", run), ("run", run)):
        tell(f"{'make run' if command is run else 'dvc repro'} ...")
        found["commands"][name] = round(seconds(command, project, variables), 1)
        if name == "first":
            found["stages"] = [noted(notes, stage) for stage in STAGES]
    return found


def surroundings(folder: Path) -> dict[str, str]:
    """The stand-in, first on PATH, and a registry that is the clone's own."""
    notes, programs = folder / "notes", folder / "programs"
    notes.mkdir()
    programs.mkdir()
    stand_in = programs / "python"
    stand_in.write_text(STAND_IN.format(notes=notes, python=sys.executable), encoding="utf-8")
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    # The clone runs its own code, not that of a folder that this process was told of.
    return AUTHOR | {"PATH": path, "PYTHONPATH": "", "MLFLOW_TRACKING_URI": ""}


def noted(notes: Path, stage: str) -> Seen:
    """Seconds of a stage, and those in which it imported."""
    begin, end, imports = (
        (notes / f"pipeline.{stage}.{kind}").read_text(encoding="utf-8")
        for kind in ("begin", "end", "imports")
    )
    microseconds = sum(map(int, IMPORT.findall(imports)))
    return {
        "stage": stage,
        "seconds": round(float(end) - float(begin), 1),
        "imports": round(microseconds / 1e6, 1),
    }
