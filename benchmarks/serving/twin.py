"""The float32 bundle of a project that serves 8 bit: what the peers serve, and ours beside them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.documents import ROOT
from benchmarks.serving.environments import CACHE
from benchmarks.serving.errors import TwinMissing
from benchmarks.serving.project import FLOAT, LAYOUT, Project, Served
from serving.artifact.manifest import MANIFEST

PARAMS = "params.yaml"
# The stage loads TensorFlow, and classifies a few images.
PATIENCE = 300


def with_float(project: Project) -> Project:
    """The same project with a float32 bundle; if it has none, the pipeline exports it once more."""
    if any(served.precision == FLOAT for served in project.bundles):
        return project
    folder = CACHE / "float32" / project.default.digest[:12]
    if not (folder / LAYOUT.bundle / MANIFEST).exists():
        print("exporting the float32 bundle ...", flush=True)
        _lay_out(project.root, folder)
        _export(folder)
    return replace(project, bundles=(*project.bundles, Served.open(folder / LAYOUT.bundle)))


def _lay_out(root: Path, folder: Path) -> None:
    """A project with the same data and network, and another precision."""
    for inside in (LAYOUT.built, LAYOUT.prepared):
        link = folder / inside
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(root / inside)
    yaml = YAML()
    params = yaml.load(root / PARAMS)
    params[LAYOUT.model]["export"]["precision"] = "float32"
    yaml.dump(params, folder / PARAMS)


def _export(folder: Path) -> None:
    """Runs the stage there; `TwinMissing` with its last words if it fails."""
    command = [sys.executable, "-m", "pipeline.stages.export", LAYOUT.model]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
    except subprocess.CalledProcessError as error:
        raise TwinMissing(" ".join(error.stderr.split())[-300:]) from None
    except subprocess.TimeoutExpired:
        raise TwinMissing(f"it took more than {PATIENCE} s") from None
