"""Bundles of two versions, and pods of the rendered manifests with one of them in their image."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.deploy.kubernetes.pods import Pod
from tests.deploy.kubernetes.rendered import copy_of_the_manifests, documents
from tests.serving.bundles import write_bundle

MODEL = "digits"


@dataclass(frozen=True)
class Version:
    """A bundle and its pin."""

    bundle: Path
    pin: Pin

    @property
    def pins(self) -> dict[str, bytes]:
        """The pin as the file in git."""
        return {f"{MODEL}.json": self.pin.to_bytes()}


@pytest.fixture(scope="package")
def cluster() -> Iterator[Path]:
    """A folder that users other than its owner may enter, unlike tmp_path."""
    with TemporaryDirectory(prefix="goldfish-kubernetes-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="package")
def versions(cluster: Path) -> tuple[Version, Version]:
    """Two versions of a tiny model that has the pinned model's name."""

    def write(number: int, steepness: float) -> Version:
        bundle = write_bundle(cluster / f"version-{number}", MODEL, steepness)
        return Version(bundle, Pin(MODEL, number, Bundle.open(bundle).digest))

    return write(1, 4.0), write(2, 5.0)


# Makes a pod whose image has the bundle of a version: `make_pod(image, pins, components, ...)`.
MakePod = Callable[..., Pod]


@pytest.fixture(scope="package")
def make_pod(cluster: Path) -> Iterator[MakePod]:
    """Makes pods, which end with the tests."""
    numbers = count()
    with ExitStack() as pods:

        def make(
            image: Version,
            pins: dict[str, bytes] | None = None,
            components: tuple[str, ...] = (),
            overlay: str = "plain",
            **options: Any,  # noqa: ANN401  (those of Pod)
        ) -> Pod:
            folder = cluster / f"pod-{next(numbers)}"
            manifests = copy_of_the_manifests(folder / "manifests", pins or image.pins, components)
            root = folder / "root"
            # What the Dockerfile copies to /srv.
            shutil.copytree(image.bundle, root / "srv/models" / MODEL / "bundle")
            pod = Pod(root, documents(overlay, manifests), **options)
            pods.callback(pod.quit)
            return pod

        yield make
