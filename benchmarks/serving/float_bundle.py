"""Exports a float32 bundle of a project whose own bundle is 8 bit.

The peers serve its graph, and this server is measured with both bundles.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.documents import ROOT
from benchmarks.errors import QUOTED, FloatBundleMissing
from benchmarks.serving.environments import CACHE
from benchmarks.serving.project import FLOAT, LAYOUT, Project, ServedBundle
from serving.artifact.manifest import MANIFEST

PARAMS = "params.yaml"
# Seconds; the stage loads TensorFlow and classifies a few images.
EXPORT_TIMEOUT = 300


def with_float_bundle(project: Project) -> Project:
    """Adds a float32 bundle to the project, if its own is not; exports it once for each digest."""
    if project.default.precision == FLOAT:
        return project
    folder = CACHE / "float32" / project.default.digest[:12]
    if not (folder / LAYOUT.bundle / MANIFEST).exists():
        print("exporting the float32 bundle ...", flush=True)
        _link_inputs(project.root, folder)
        _export(folder)
    return replace(project, bundles=(*project.bundles, ServedBundle.open(folder / LAYOUT.bundle)))


def _link_inputs(root: Path, folder: Path) -> None:
    """Prepares a folder with the project's network and data, and params with another precision."""
    for path in (LAYOUT.built, LAYOUT.prepared):
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(root / path)
    yaml = YAML()
    params = yaml.load(root / PARAMS)
    params[LAYOUT.model]["export"]["precision"] = "float32"
    yaml.dump(params, folder / PARAMS)


def _export(folder: Path) -> None:
    """Runs the stage in the folder. Raises `FloatBundleMissing`."""
    command = [sys.executable, "-m", "pipeline.stages.export", LAYOUT.model]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=EXPORT_TIMEOUT,
        )
    except subprocess.CalledProcessError as error:
        raise FloatBundleMissing(" ".join(error.stderr.split())[-QUOTED:]) from None
    except subprocess.TimeoutExpired:
        raise FloatBundleMissing(f"it took more than {EXPORT_TIMEOUT} s") from None
