"""Builds a model again from nothing, in a temporary clone, and compares it with the pin file by file.

The clone has the last commit, without caches and without what this workspace has built. Only the photos in
`data/raw/<model>` that are not in git are taken from the workspace.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import CommitBuildsAnother, PhotosMissing, RebuildDiffers
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.project.committed_files import (
    FileDifference,
    differences_from_commit,
    differences_of_folders,
    git,
)
from pipeline.project.git_repository import require_repository
from pipeline.project.reproduction import dvc_repro, missing_photos
from pipeline.registry.fetch import find_pinned
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import PinMissing, ServingError


def rebuild(layout: Layout) -> None:
    """Prints what differs and a verdict; raises `RebuildDiffers` if anything does."""
    require_repository()
    if missing := missing_photos(layout):
        raise PhotosMissing(layout.model, missing)
    with TemporaryDirectory(prefix="goldfish-rebuild-") as temporary:
        clone = clone_commit(Path(temporary) / "clone")
        pin = committed_pin(layout, clone)
        add_photos(layout, clone)
        commit = git(clone, "rev-parse", "HEAD").decode().strip()[:10]
        dvc_repro("--force", f"evaluate@{layout.model}", folder=clone)
        bundle = Bundle.open(clone / layout.bundle)
        differences = list(differences_from_commit(clone))
        if bundle.digest != pin.digest:
            differences += bundle_differences(layout, bundle)
        for difference in differences:
            print(f"differs  {difference}")
        if differences:
            raise RebuildDiffers(layout.model, commit, pin.digest, bundle.digest, len(differences))
        committed = git(clone, "ls-files", "--", str(layout.reports), "dvc.lock").split()
        print(
            f"equal: {layout.model} {pin.digest[:12]}, built again from commit {commit}: "
            f"{len(bundle.manifest.files)} files of the bundle, {len(committed)} of reports and dvc.lock"
        )


def clone_commit(target: Path) -> Path:
    """Clones HEAD; returns the project's folder in it, which may be a part of a larger repository."""
    root, prefix = (
        git(Path(), "rev-parse", option).decode().strip() for option in ("--show-toplevel", "--show-prefix")
    )
    git(Path(), "clone", "--quiet", "--no-tags", root, str(target))
    return target / prefix


def committed_pin(layout: Layout, clone: Path) -> Pin:
    """The pin of the last commit; raises `CommitBuildsAnother` if its reports describe another bundle."""
    if not (clone / layout.pin).exists():
        raise PinMissing(layout.pin, "the last commit pins nothing; `make run`, then commit the pin")
    pin = Pin.read(clone / layout.pin)
    if (clone / layout.metrics).exists():
        described = str(read_json(clone / layout.metrics).get("digest"))
        if described != pin.digest:
            raise CommitBuildsAnother(layout.pin, pin.digest, layout.metrics, described)
    return pin


def add_photos(layout: Layout, clone: Path) -> None:
    """Adds the files of `data/raw/<model>` that git does not have."""
    if layout.raw.is_dir():
        shutil.copytree(layout.raw, clone / layout.raw, copy_function=_add_file, dirs_exist_ok=True)


def _add_file(source: str, target: str) -> None:
    """Links a photo into the clone, or copies it to another file system; the commit's own files stay."""
    if os.path.lexists(target):
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def bundle_differences(layout: Layout, found: Bundle) -> list[FileDifference]:
    """Compares a bundle with the pinned one, if the workspace or the registry has that."""
    title = str(layout.bundle)
    with suppress(ServingError):
        return list(differences_of_folders(find_pinned(layout).path, found.path, title))
    return [FileDifference(title, f"digest {found.digest}; the pinned one is not here to compare its files")]
