"""Collects what an image needs of one model: `python -m serving.artifact.image_contents DIR`.

Reads the pin, and the bundle of the workspace or of the registry, as the server itself does.
Writes `DIR/pins/`, `DIR/models/` with the bundle's serving files, `DIR/reports/` if they are of its digest.
"""

import sys
from pathlib import Path

import msgspec

from serving.artifact.bundle import MANIFEST, SERVING, Bundle
from serving.artifact.release import Release, find
from serving.config import Settings
from serving.errors import ServingError


class LabelWrong(ServingError):
    """The image was to be labelled with another identity than that of the pin."""

    code = "label_wrong"

    def __init__(self, given: str, pinned: str) -> None:
        super().__init__(f"The labels say {given}, but pinned is {pinned}: build with `make image`.")


def bake(release: Release, folder: Path) -> None:
    """Copies the files that serve, each after its SHA-256 was found right."""
    bundle, name = release.bundle, release.pin.name
    target = folder / "models" / name / "bundle"
    for file, entry in bundle.manifest.files.items():
        if entry.role == SERVING:
            _write(target / file, bundle.read(file))
    _write(target / MANIFEST, bundle.manifest.to_bytes())
    Bundle.open(target).verify(whole=False)
    _write(folder / "pins" / f"{name}.json", release.pin.to_bytes())
    if release.metrics is not None:
        _write(folder / "reports" / name / "metrics.json", msgspec.json.encode(release.metrics))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main(arguments: list[str]) -> int:
    """`DIR [LABEL]`: LABEL is `<name> <version> <digest>`, as the image will say; gives the exit code."""
    folder, *labels = arguments
    try:
        release = find(Settings.read())
        pin = release.pin
        identity = f"{pin.name} {pin.version} {pin.digest}"
        if labels and labels != [identity]:
            raise LabelWrong(" ".join(labels), identity)
        bake(release, Path(folder))
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"baked {identity}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
