"""Finds a bundle in DVC's cache by its digest. The cache keeps the outputs of earlier runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

from pipeline.errors import CommandFailed
from pipeline.files import sha256_of
from serving.artifact.manifest import MANIFEST


def copy_bundle(digest: str, target: Path) -> bool:
    """Copies the bundle with this digest into an empty folder; `False` if the cache lacks any of its files.

    Only the manifest was checked: callers open and verify the copy.
    """
    objects = _cache_folder() / "files/md5"
    for listing in sorted(objects.glob("*/*.dir")):
        files = _cached_files(listing, objects)
        manifest = files.get(MANIFEST)
        if manifest and manifest.is_file() and sha256_of(manifest) == digest:
            if not all(path.is_file() for path in files.values()):
                continue
            for name, path in files.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
            return True
    return False


def _cached_files(listing: Path, objects: Path) -> dict[str, Path]:
    """The files of a cached folder: relative name to path in the cache. Empty if a name leaves the folder."""
    try:
        entries = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return {}
    names = map(PurePosixPath, entries)
    if any(name.is_absolute() or ".." in name.parts for name in names):
        return {}
    return {name: objects / md5[:2] / md5[2:] for name, md5 in entries.items()}


def _cache_folder() -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(["dvc", "cache", "dir"], done.returncode, done.stderr)
    return Path(done.stdout.strip())
