"""What is served and what is sent, from a project in which `make run MODEL=imagenet` was done."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.serving.errors import ProjectIncomplete
from pipeline.layout import Layout
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import GRAPH
from serving.artifact.pin import Pin
from serving.errors import ServingError
from serving.model.predictor import Predictor

LAYOUT = Layout("imagenet")
# Where a bundle that serves 8 bit keeps the float graph that it was made from.
FLOAT_GRAPH = "data/model.onnx"
FLOAT, EIGHT = "float32", "8 bit"

# Photos that all are asked about, and those that the load generator posts in turn: of the sizes that phones
# and web pages send, so that no contender lives on a cache.
ASKED, SENT = 200, 20
SMALLEST, LARGEST = 20_000, 120_000


@dataclass(frozen=True)
class Served:
    """A bundle, and what its graph computes in."""

    path: Path
    digest: str
    precision: str

    @classmethod
    def open(cls, path: Path) -> "Served":
        """Looks at a bundle; `ProjectIncomplete` if it is none."""
        try:
            bundle = Bundle.open(path)
        except ServingError as error:
            raise ProjectIncomplete(path, f"is no bundle ({str(error).rstrip('.')})") from None
        precision = EIGHT if FLOAT_GRAPH in bundle.manifest.files else FLOAT
        return cls(path.resolve(), bundle.digest, precision)

    @property
    def float_graph(self) -> Path:
        """The graph that the peers open."""
        return self.path / (FLOAT_GRAPH if self.precision == EIGHT else GRAPH)

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor.open(self.path)


@dataclass(frozen=True)
class Photo:
    """A labelled photo, and the number of its class among the labels."""

    path: Path
    actual: int


@dataclass(frozen=True)
class Project:
    """The bundles, the project's own first, and the photos."""

    root: Path
    bundles: tuple[Served, ...]
    asked: tuple[Photo, ...]
    sent: tuple[Path, ...]

    @property
    def default(self) -> Served:
        return self.bundles[0]

    @property
    def reference(self) -> Served:
        """The bundle with float weights if there is one: what the peers serve too."""
        return next((served for served in self.bundles if served.precision == FLOAT), self.default)


def find(root: Path, more: Sequence[Path] = ()) -> Project:
    """Reads a project, and bundles besides its own; `ProjectIncomplete` says what is missing."""
    own = Served.open(root / LAYOUT.bundle)
    try:
        pin = Pin.read(root / LAYOUT.pin)
    except ServingError as error:
        raise ProjectIncomplete(root / LAYOUT.pin, f"pins nothing ({str(error).rstrip('.')})") from None
    if pin.digest != own.digest:
        raise ProjectIncomplete(root / LAYOUT.bundle, f"is not what {LAYOUT.pin} names")
    files = sorted(path for path in (root / LAYOUT.test).rglob("*") if path.is_file())
    if len(files) < ASKED:
        raise ProjectIncomplete(root / LAYOUT.test, f"holds {len(files)} photos, fewer than {ASKED}")
    number = {label.id: index for index, label in enumerate(own.predictor.labels)}
    asked = tuple(Photo(path.resolve(), number[path.parent.name]) for path in spread(files, ASKED))
    usual = [path.resolve() for path in files if SMALLEST <= path.stat().st_size <= LARGEST]
    return Project(root.resolve(), (own, *map(Served.open, more)), asked, tuple(spread(usual, SENT)))


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """So many of them, evenly spaced."""
    chosen = min(count, len(files))
    return [files[index * len(files) // chosen] for index in range(chosen)]
