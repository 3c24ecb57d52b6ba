"""Collects the files of a model for the container image: `python -m serving.artifact.container_contents`.

Finds pin, signature and bundle as the server does. Writes `DIR/pins/`, `DIR/models/` with the bundle's
serving files, and `DIR/reports/` if there are metrics of its digest.
"""

import sys
from pathlib import Path

import msgspec

from serving.artifact.bundle import Bundle
from serving.artifact.files import write_file
from serving.artifact.manifest import MANIFEST, SERVING
from serving.artifact.release import Release, find_release
from serving.artifact.signature import Signature
from serving.artifact.signature_check import read_local_signature
from serving.config import Settings
from serving.errors import ServingError


class LabelWrong(ServingError):
    """The image's labels name another version than the pin."""

    code = "label_wrong"

    def __init__(self, given: str, pinned: str) -> None:
        super().__init__(f"The labels say {given}, but pinned is {pinned}: build with `make image`.")


def copy_release(release: Release, folder: Path, signature: Signature | None = None) -> None:
    """Copies the serving files, each after its SHA-256 was checked, with pin, signature and metrics."""
    bundle, name = release.bundle, release.pin.name
    target = folder / "models" / name / "bundle"
    for file, entry in bundle.manifest.files.items():
        if entry.role == SERVING:
            write_file(target / file, bundle.read(file))
    write_file(target / MANIFEST, bundle.manifest.to_bytes())
    Bundle.open(target).verify(whole=False)
    write_file(folder / "pins" / f"{name}.json", release.pin.to_bytes())
    if signature is not None:
        write_file(folder / "pins" / f"{name}.sig", signature.data)
    if release.metrics is not None:
        write_file(folder / "reports" / name / "metrics.json", msgspec.json.encode(release.metrics))


def main(arguments: list[str]) -> int:
    """`DIR [LABEL]`: LABEL is `<name> <version> <digest>` as in the image's labels. Returns the exit code."""
    folder, *labels = arguments
    try:
        settings = Settings.read()
        release = find_release(settings, settings.model)
        pin = release.pin
        identity = f"{pin.name} {pin.version} {pin.digest}"
        if labels and labels != [identity]:
            raise LabelWrong(" ".join(labels), identity)
        # Without trusted keys it is copied unverified: the image's server may have keys.
        signature = release.signature or read_local_signature(settings, settings.model)
        copy_release(release, Path(folder), signature)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"copied {identity}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
