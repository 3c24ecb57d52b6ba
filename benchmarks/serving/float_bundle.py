"""Exports a float32 bundle of a project whose own bundle is 8 bit.

The peers serve its graph, and this server is measured with both bundles.
"""

from dataclasses import replace

from ruamel.yaml import YAML

from benchmarks.commands import run_module
from benchmarks.serving.environments import CACHE
from benchmarks.serving.project import FLOAT, Project, ServedBundle
from serving.artifact.manifest import MANIFEST

PARAMS = "params.yaml"


def with_float_bundle(project: Project) -> Project:
    """Adds a float32 bundle to the project, if its own is not; exports it once for each digest.

    Raises `CommandFailed` if the stage `export` fails.
    """
    if project.default.precision == FLOAT:
        return project
    folder, layout = CACHE / "float32" / project.default.digest[:12], project.layout
    if not (folder / layout.bundle / MANIFEST).exists():
        print("exporting the float32 bundle ...", flush=True)
        for path in (layout.built, layout.prepared):
            link = folder / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(project.root / path)
        yaml = YAML()
        params = yaml.load(project.root / PARAMS)
        params[layout.model]["export"]["precision"] = "float32"
        yaml.dump(params, folder / PARAMS)
        run_module("pipeline.stages.export", layout.model, folder=folder)
    return replace(
        project, bundles=(*project.bundles, ServedBundle.open(folder / layout.bundle, layout.model))
    )
