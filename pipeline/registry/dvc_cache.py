"""DVC's cache as a place to find a bundle in by its digest: it keeps what earlier runs have built."""

import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

from pipeline.errors import CommandFailed
from pipeline.files import sha256_of
from serving.artifact.manifest import MANIFEST


def copy_bundle(digest: str, target: Path) -> bool:
    """Copies the bundle with this digest into an empty folder, if the cache has all of its files.

    What was copied is unchecked: whoever uses it opens it as a bundle and verifies it.
    """
    objects = _folder() / "files/md5"
    for listing in sorted(objects.glob("*/*.dir")):
        files = _files(listing, objects)
        manifest = files.get(MANIFEST)
        if manifest and manifest.is_file() and sha256_of(manifest) == digest:
            if not all(path.is_file() for path in files.values()):
                continue
            for name, path in files.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
            return True
    return False


def _files(listing: Path, objects: Path) -> dict[str, Path]:
    """The files of a cached folder: their names in it, and where the cache has them."""
    try:
        entries = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(listing.read_bytes())}
    except (ValueError, KeyError, TypeError):
        return {}
    inside = all(
        not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts for name in entries
    )
    return {name: objects / md5[:2] / md5[2:] for name, md5 in entries.items()} if inside else {}


def _folder() -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(["dvc", "cache", "dir"], done.returncode, done.stderr)
    return Path(done.stdout.strip())
