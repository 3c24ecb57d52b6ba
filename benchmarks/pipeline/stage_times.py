"""Durations of `dvc repro`, `make run` and each stage, for the model digits in a copy of the repository.

DVC starts the stages with `python`. A wrapper of that name records when each one begins and ends, and makes
Python record its import times. DVC's own time is the remainder.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.command_line import print_progress
from benchmarks.commands import run_command
from tests.pipeline.projects import AUTHOR, copy_of_the_working_tree

MODEL = "digits"
STAGES = ("prepare", "build", "export", "evaluate", "register")
# `$2` is the stage's module. The import times go to stderr, from which they are removed again.
WRAPPER = """\
#!/bin/sh
record="{records}/$2"
date +%s.%N > "$record.begin"
PYTHONPROFILEIMPORTTIME=1 "{python}" "$@" 2> "$record.imports"
code=$?
date +%s.%N > "$record.end"
grep -v "^import time:" "$record.imports" >&2
exit $code
"""
# Microseconds of a module itself, without those of the modules that it imports.
IMPORT_TIME = re.compile(r"^import time: +(\d+) \|", re.MULTILINE)

Figures = dict[str, Any]


def measure_stages(folder: Path) -> Figures:
    """Times `dvc repro` and `make run`, each from nothing and with nothing to do."""
    project = copy_of_the_working_tree(folder / "project").root
    variables = install_wrapper(folder)
    repro = [sys.executable, "-m", "dvc", "repro", f"register@{MODEL}"]
    run = [sys.executable, "-m", "pipeline", "run", MODEL]
    figures: Figures = {"stages": [], "commands": {}}
    # --force, because the reports are committed and `evaluate` would be skipped. The first `make run` also
    # writes the pin.
    commands = {"first": [*repro, "--force"], "again": repro, "pinning": run, "run": run}
    for name, command in commands.items():
        print_progress(f"{'make run' if command is run else 'dvc repro'} ...")
        began = time.monotonic()
        run_command(command, project, variables)
        figures["commands"][name] = round(time.monotonic() - began, 1)
        if name == "first":
            figures["stages"] = [read_records(folder, stage) for stage in STAGES]
    return figures


def install_wrapper(folder: Path) -> dict[str, str]:
    """Writes the wrapper; returns variables that put it first on PATH, and select the copy's own registry."""
    records, programs = folder / "records", folder / "programs"
    records.mkdir()
    programs.mkdir()
    wrapper = programs / "python"
    wrapper.write_text(WRAPPER.format(records=records, python=sys.executable), encoding="utf-8")
    wrapper.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    # An empty PYTHONPATH, so that the copy runs its own code.
    return AUTHOR | {"PATH": path, "PYTHONPATH": "", "MLFLOW_TRACKING_URI": ""}


def read_records(folder: Path, stage: str) -> Figures:
    """Duration and import time of a stage, in seconds."""
    begin, end, imports = (
        (folder / "records" / f"pipeline.stages.{stage}.{kind}").read_text(encoding="utf-8")
        for kind in ("begin", "end", "imports")
    )
    microseconds = sum(map(int, IMPORT_TIME.findall(imports)))
    return {
        "stage": stage,
        "seconds": round(float(end) - float(begin), 1),
        "imports": round(microseconds / 1e6, 1),
    }
