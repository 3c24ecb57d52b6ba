"""The bundles and photos of the benchmark, from a project in which `make run MODEL=<model>` was done."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.errors import ProjectIncomplete
from pipeline.layout import Layout
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.artifact.pin import Pin
from serving.errors import ServingError
from serving.model.predictor import Predictor

# The model that is measured unless a command has an option for another one.
LAYOUT = Layout("imagenet")
FLOAT, EIGHT_BIT = "float32", "8 bit"

# Photos for top-1 accuracy, and photos that the load generator posts in turn. Several, so that no contender
# benefits from a cache, and of the sizes in bytes that phones and web pages send, if there are any.
ACCURACY_PHOTOS, LOAD_PHOTOS = 200, 20
SMALLEST, LARGEST = 20_000, 120_000


@dataclass(frozen=True)
class ServedBundle:
    """A bundle and the precision of its graph."""

    path: Path
    digest: str
    precision: str

    @classmethod
    def open(cls, path: Path, model: str = LAYOUT.model) -> "ServedBundle":
        """Reads a bundle's manifest. Raises `ProjectIncomplete` if there is none."""
        try:
            bundle = Bundle.open(path)
        except ServingError as error:
            raise ProjectIncomplete(path, f"is no bundle ({str(error).rstrip('.')})", model) from None
        precision = EIGHT_BIT if FLOAT_GRAPH in bundle.manifest.files else FLOAT
        return cls(path.resolve(), bundle.digest, precision)

    @property
    def float_graph(self) -> Path:
        """The graph that the peers serve; an 8-bit bundle holds the float32 graph that it was made from."""
        return self.path / (FLOAT_GRAPH if self.precision == EIGHT_BIT else GRAPH)

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor.open(self.path)


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the index of its class among the labels."""

    path: Path
    actual: int


@dataclass(frozen=True)
class Project:
    """The bundles, the project's own first, and the photos."""

    root: Path
    bundles: tuple[ServedBundle, ...]
    accuracy_photos: tuple[LabelledPhoto, ...]
    load_photos: tuple[Path, ...]
    layout: Layout = LAYOUT

    @property
    def default(self) -> ServedBundle:
        """The project's own bundle."""
        return self.bundles[0]

    @property
    def reference(self) -> ServedBundle:
        """The float32 bundle, whose graph the peers serve; the project's own if there is none."""
        return next((bundle for bundle in self.bundles if bundle.precision == FLOAT), self.default)


def find_project(root: Path, layout: Layout = LAYOUT) -> Project:
    """Reads a project's model. Raises `ProjectIncomplete` if something is missing."""
    bundle = ServedBundle.open(root / layout.bundle, layout.model)
    _check_pin(root, layout, bundle)
    files = list_test_photos(root, layout)
    if len(files) < ACCURACY_PHOTOS:
        reason = f"holds {len(files)} photos, fewer than {ACCURACY_PHOTOS}"
        raise ProjectIncomplete(root / layout.test, reason, layout.model)
    class_index = {label.id: index for index, label in enumerate(bundle.predictor.labels)}
    labelled = (
        LabelledPhoto(path.resolve(), class_index[path.parent.name])
        for path in evenly_spaced(files, ACCURACY_PHOTOS)
    )
    typical = [path for path in files if SMALLEST <= path.stat().st_size <= LARGEST]
    sent = tuple(path.resolve() for path in evenly_spaced(typical or files, LOAD_PHOTOS))
    return Project(root.resolve(), (bundle,), tuple(labelled), sent, layout)


def _check_pin(root: Path, layout: Layout, bundle: ServedBundle) -> None:
    try:
        pin = Pin.read(root / layout.pin)
    except ServingError as error:
        reason = f"pins nothing ({str(error).rstrip('.')})"
        raise ProjectIncomplete(root / layout.pin, reason, layout.model) from None
    if pin.digest != bundle.digest:
        reason = f"is not what {layout.pin} names"
        raise ProjectIncomplete(root / layout.bundle, reason, layout.model)


def list_test_photos(root: Path, layout: Layout = LAYOUT) -> list[Path]:
    """All photos of the test split."""
    return sorted(path for path in (root / layout.test).rglob("*") if path.is_file())


def evenly_spaced(files: Sequence[Path], count: int) -> list[Path]:
    """`count` of the files, or all if there are fewer."""
    chosen = min(count, len(files))
    return [files[index * len(files) // chosen] for index in range(chosen)]
