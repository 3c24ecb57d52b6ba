"""What a run has to do: the images, divided into parts, each of which becomes one file."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

# Version of the results: of their columns and of how parts are made.
FORMAT = 1
# Images in a part: a file of some 100 kB. One that is not finished when a run ends is scored again.
PART_IMAGES = 1000
# Images that a worker gets at once: half a second's work, so that all workers end at nearly the same time.
CHUNK_IMAGES = 64
# The packages on whose versions the bytes of the results depend.
PACKAGES = ("numpy", "onnxruntime", "pillow", "pyarrow")


@dataclass(frozen=True)
class Options:
    """What the rows contain. `level` is the coverage of the label sets, None for none."""

    level: float | None = None
    explain: bool = False


class Shard(NamedTuple):
    """The `number`th of `shards` shares of the parts, from 1."""

    number: int = 1
    shards: int = 1


class Chunk(NamedTuple):
    """Consecutive images of a part, the first of which is the part's image `start`."""

    part: int
    start: int
    entries: list[str]


@dataclass(frozen=True)
class Part:
    """Consecutive images of the whole list."""

    number: int
    entries: list[str]

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"part-{self.number:06}.parquet"

    def chunks(self) -> Iterator[Chunk]:
        """The part in pieces for workers."""
        for start in range(0, len(self.entries), CHUNK_IMAGES):
            yield Chunk(self.number, start, self.entries[start : start + CHUNK_IMAGES])


@dataclass(frozen=True)
class Plan:
    """The images of a run, in order, and all that the rows depend on. The same plan gives the same bytes."""

    model: str
    version: int
    digest: str
    options: Options
    entries: list[str]

    def parts(self, shard: Shard = Shard()) -> Iterator[Part]:  # noqa: B008  (immutable)
        """The parts of one shard."""
        for number in range(shard.number - 1, self.part_count, shard.shards):
            start = number * PART_IMAGES
            yield Part(number, self.entries[start : start + PART_IMAGES])

    @property
    def part_count(self) -> int:
        """Parts of all shards together."""
        return -(-len(self.entries) // PART_IMAGES)

    def document(self) -> Mapping[str, Any]:
        """What `plan.json` says: two runs with the same document have the same parts."""
        listed = hashlib.sha256()
        for entry in self.entries:
            listed.update(os.fsencode(entry) + b"\0")
        return {
            "format": FORMAT,
            "model": {"name": self.model, "version": self.version, "digest": self.digest},
            "options": asdict(self.options),
            "images": len(self.entries),
            "list_sha256": listed.hexdigest(),
            "part_images": PART_IMAGES,
            "versions": {name: version(name) for name in PACKAGES},
        }


def identity(document: Mapping[str, Any]) -> str:
    """SHA-256 of a plan's document, which its parts carry."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
