"""Measures one contender once: start, verify, warm up, load, weigh, stop."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.command_line import print_progress
from benchmarks.errors import LoadFailed
from benchmarks.sampling import sampled
from benchmarks.serving.contenders import Contender
from benchmarks.serving.load_generator import Load, generate_load
from benchmarks.serving.processes import ProcessTree
from benchmarks.serving.verification import Accuracy, Reference, measure_accuracy, wait_for_correct
from tests.serving.servers import free_port

CLIENTS = (1, 8, 64)
WARM_UP_CLIENTS, WARM_UP_SECONDS = 8, 2.0
# Seconds. The kernel takes milliseconds to sum up PSS, so more samples would slow the contender down.
MEMORY_INTERVAL = 1.0


@dataclass
class Measurement:
    """The figures of one contender in one round. Memory is PSS of all its processes, MB."""

    start_seconds: float = 0.0
    idle_mb: float = 0.0
    load_mb: float = 0.0
    # By number of clients; the bare limit has no clients, and its figures are under 0.
    loads: dict[int, Load] = field(default_factory=dict)
    accuracy: Accuracy | None = None


@dataclass(frozen=True)
class RunningContender:
    """A started contender. `start_seconds` passed before its first correct prediction."""

    contender: Contender
    url: str
    tree: ProcessTree
    bodies: Sequence[Path]
    start_seconds: float

    def load(
        self, clients: int, seconds: float, others: Sequence["RunningContender"] = ()
    ) -> tuple[Load, float]:
        """Runs the load generator; returns its figures and the peak memory, MB.

        `others` were started after this one: they share the clients, and their memory is included.
        """
        urls = [self.url, *(other.url for other in others)]
        wire_format = self.contender.wire_format
        with sampled(self.tree.pss, MEMORY_INTERVAL) as memory:
            load = generate_load(
                urls, wire_format.content_type, self.bodies, clients, seconds, wire_format.more_headers
            )
        return load, max(memory)


@contextmanager
def running(contender: Contender, photos: Sequence[Path], reference: Reference) -> Iterator[RunningContender]:
    """Starts a contender on a free port and writes the request bodies of the photos; stops it at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        port, folder = free_port(), Path(name)
        bodies = _write_bodies(contender, photos, folder / "bodies")
        url = f"http://127.0.0.1:{port}{contender.path}"
        started = time.monotonic()
        with contender.start(port, folder) as tree:
            seconds = wait_for_correct(contender, url, tree, reference, started)
            yield RunningContender(contender, url, tree, bodies, seconds)


def measure_server(
    contender: Contender, photos: Sequence[Path], reference: Reference, seconds: float, accuracy: bool
) -> Measurement:
    """Measures a server; its accuracy only if `accuracy` is set, because that takes longer."""
    with running(contender, photos, reference) as server:
        measured = Measurement(start_seconds=server.start_seconds)
        print_progress(f"first right answer after {measured.start_seconds:.1f} s")
        if accuracy:
            measured.accuracy = measure_accuracy(contender, server.url, reference)
        server.load(WARM_UP_CLIENTS, WARM_UP_SECONDS)
        measured.idle_mb = server.tree.pss()
        for clients in CLIENTS:
            measured.loads[clients], memory = server.load(clients, seconds)
            measured.load_mb = max(measured.load_mb, memory)
            print_progress(f"{clients} clients: {measured.loads[clients].rate:.0f}/s")
    return measured


def measure_bare_limit(contender: Contender) -> Measurement:
    """Runs the loop without a server, which prints its own figures."""
    with tempfile.TemporaryDirectory() as folder, contender.start(0, Path(folder)) as tree:
        with sampled(tree.pss, MEMORY_INTERVAL) as memory:
            tree.root.wait()
        output = tree.log.read_text(encoding="utf-8")
    try:
        load = Load(**json.loads(output), errors=0)
    except ValueError:
        raise LoadFailed(output) from None
    print_progress(f"{load.rate:.0f}/s")
    return Measurement(load_mb=max(memory), loads={0: load})


def _write_bodies(contender: Contender, photos: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:02}" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        path.write_bytes(contender.wire_format.encode(photo.read_bytes()))
    return paths
