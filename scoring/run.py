"""One run: plans the parts, scores those that are not finished, and sums up."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from scoring.errors import WorkerKilled
from scoring.output import Output
from scoring.plan import Chunk, Part, Plan, Shard
from scoring.progress import Progress
from scoring.rows import to_table
from scoring.scorer import refused_rows

# Scores chunks, and leaves out those that have killed their worker. With True: images that may kill again.
Engine: TypeAlias = Callable[[Iterable[Chunk], bool], Iterator[tuple[Chunk, pa.Table]]]


@dataclass
class _OpenPart:
    """A part of which some chunks are still to come."""

    part: Part
    tables: dict[int, pa.Table] = field(default_factory=dict)

    def add(self, start: int, table: pa.Table) -> None:
        self.tables[start] = table

    @property
    def is_complete(self) -> bool:
        rows: int = sum(table.num_rows for table in self.tables.values())
        return rows == len(self.part.entries)

    @property
    def missing(self) -> list[Chunk]:
        """The images without a row, one by one."""
        return [
            Chunk(self.part.number, chunk.start + index, [entry])
            for chunk in self.part.chunks()
            if chunk.start not in self.tables
            for index, entry in enumerate(chunk.entries)
        ]


def run(
    plan: Plan, output: Output, shard: Shard, engine: Engine, retry: bool, progress: Progress
) -> dict[str, Any] | None:
    """Scores a shard; returns what `run.json` says, or None if parts of other shards are still missing.

    Raises a `ScoringError` or an `OSError`; all parts that were finished before stay.
    """
    output.begin(plan)
    output.remove_leftovers()
    started: dict[int, _OpenPart] = {}

    def chunks() -> Iterator[Chunk]:
        for part in plan.parts(shard):
            if output.is_finished(part, retry):
                progress.skip(len(part.entries))
            else:
                started[part.number] = _OpenPart(part)
                yield from part.chunks()

    def collect(found: Iterator[tuple[Chunk, pa.Table]]) -> None:
        for chunk, table in found:
            progress.add(table.num_rows)
            entry = started[chunk.part]
            entry.add(chunk.start, table)
            if entry.is_complete:
                output.write_part(entry.part, [entry.tables[start] for start in sorted(entry.tables)])
                del started[chunk.part]

    collect(engine(chunks(), False))
    # What was in work when a worker was killed.
    missing = [chunk for entry in started.values() for chunk in entry.missing]
    if missing:
        collect(engine(missing, True))
    lost = [
        chunk for chunk in missing if chunk.part in started and chunk.start not in started[chunk.part].tables
    ]
    collect((chunk, to_table(refused_rows(chunk.entries, plan.digest, WorkerKilled()))) for chunk in lost)
    return output.summarise(plan)
