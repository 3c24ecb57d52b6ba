"""Scores on a Ray cluster, or on this machine with Ray.

Ray Data gets paths and gives rows. Actors read the images themselves, so these never enter the object store.
"""

import logging
import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

import scoring
import serving
from scoring.engines.job import Job
from scoring.environment import configure_ray, ray_address
from scoring.errors import ClusterUnreachable, WorkersFailed
from scoring.plan import Chunk
from scoring.rows import to_table
from scoring.scorer import Scorer

# Chunks of one Ray Data pipeline. Their paths are in the object store meanwhile: some 100 MB.
WINDOW = 15_625
# What an actor takes at most: the model, and the costliest image that is not refused.
ACTOR_BYTES = 500 * 2**20
CONNECT_SECONDS = 10.0
# How often a chunk is tried again whose actor was killed.
TRIES = 3
INPUT = pa.schema([("part", pa.int64()), ("start", pa.int64()), ("entries", pa.list_(pa.binary()))])


class ChunkScorer:
    """An actor: one model, one thread."""

    def __init__(self, reference: Any) -> None:  # noqa: ANN401  (a reference of Ray, to a job)
        job: Job = ray.get(reference)
        self._scorer = Scorer(job.bundle, job.root, job.options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of the result, as bytes of Arrow's stream format, beside the chunk."""
        tables = [to_table(self._scorer.score(_chunk(row))) for row in batch.to_pylist()]
        return batch.append_column("rows", pa.array(map(_to_bytes, tables), pa.binary()))


def connect() -> None:
    """Joins the cluster of `RAY_ADDRESS`, or starts Ray on this machine."""
    configure_ray()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # It has no other parameter for `max_task_retries`.
    warnings.filterwarnings(
        "ignore", "`ray_remote_args` is deprecated", ray.util.annotations.RayDeprecationWarning
    )
    packages = [str(Path(package.__file__ or "").parent) for package in (scoring, serving)]
    address = ray_address()
    _check_address(address)
    try:
        ray.init(
            address,
            runtime_env={"py_modules": packages},
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )
    except (ValueError, RuntimeError, ConnectionError) as error:
        raise ClusterUnreachable(address, str(error)) from None
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # A chunk whose actor was killed again and again is left out; the run goes on.
    context.max_errored_blocks = -1


def _check_address(address: str) -> None:
    """Raises `ClusterUnreachable` if nothing listens there: Ray itself tries for two minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ClusterUnreachable(address, getattr(error, "strerror", None) or str(error)) from None


def score(job: Job, chunks: Iterable[Chunk], workers: int | None) -> Iterator[tuple[Chunk, pa.Table]]:
    """Yields chunks with their rows; those that have killed their actor `TRIES` times are left out.

    `workers` actors, or as many as the cluster has cores.
    """
    reference, window = ray.put(job), []
    for chunk in chunks:
        window.append(chunk)
        if len(window) == WINDOW:
            yield from _score(reference, window, workers)
            window = []
    if window:
        yield from _score(reference, window, workers)


def _score(reference: Any, window: list[Chunk], workers: int | None) -> Iterator[tuple[Chunk, pa.Table]]:  # noqa: ANN401  (a reference of Ray)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    actors = min(workers or cores, len(window))
    dataset = ray.data.from_arrow([_to_input(chunk) for chunk in window]).map_batches(
        ChunkScorer,
        fn_constructor_args=(reference,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        num_cpus=1,
        memory=ACTOR_BYTES,
        # By default an image that kills its actor would be tried for ever.
        max_task_retries=TRIES,
    )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            for row in batch.to_pylist():
                yield _chunk(row), pa.ipc.open_stream(row["rows"]).read_all()
    # An actor that cannot load the model, or a cluster that has ended.
    except RayError as error:
        raise WorkersFailed(str(error).strip().splitlines()[-1]) from None


def _to_input(chunk: Chunk) -> pa.Table:
    entries = [os.fsencode(entry) for entry in chunk.entries]
    return pa.table({"part": [chunk.part], "start": [chunk.start], "entries": [entries]}, schema=INPUT)


def _chunk(row: dict[str, Any]) -> Chunk:
    return Chunk(row["part"], row["start"], [os.fsdecode(entry) for entry in row["entries"]])


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
