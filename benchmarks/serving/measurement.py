"""Measures one contender once: start, verify, warm up, load, weigh, stop."""

import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.command_line import print_progress
from benchmarks.errors import LoadFailed
from benchmarks.interference import QUIET, Interference, Watch, undisturbed, worth_repeating
from benchmarks.sampling import sampled
from benchmarks.serving.contenders import Contender
from benchmarks.serving.cores import current_split
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
    start_interference: Interference = QUIET


@dataclass(frozen=True)
class RunningContender:
    """A started contender. `start_seconds` passed before its first correct prediction.

    `interference` is what others took of the cores meanwhile.
    """

    contender: Contender
    url: str
    tree: ProcessTree
    bodies: Sequence[Path]
    start_seconds: float
    interference: Interference

    def load(
        self, clients: int, seconds: float, others: Sequence["RunningContender"] = ()
    ) -> tuple[Load, float]:
        """Runs the load generator; returns its figures and the peak memory, MB.

        `others` were started after this one: they share the clients, and their memory is included.
        """
        urls = [self.url, *(other.url for other in others)]
        wire_format, cores = self.contender.wire_format, current_split().generator
        content_type, headers = wire_format.content_type, wire_format.more_headers
        with sampled(self.tree.pss, MEMORY_INTERVAL) as memory:
            load = generate_load(urls, content_type, self.bodies, clients, seconds, cores, headers)
        return load, max(memory)

    def undisturbed_load(self, clients: int, seconds: float) -> tuple[Load, float]:
        """The same for this contender alone; repeated while others take too much of the cores."""
        (load, memory), seen = undisturbed(lambda: self.load(clients, seconds))
        return replace(load, interference=seen), memory


@contextmanager
def running(contender: Contender, photos: Sequence[Path], reference: Reference) -> Iterator[RunningContender]:
    """Starts a contender on a free port and writes the request bodies of the photos; stops it at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        port, folder = free_port(), Path(name)
        bodies = _write_bodies(contender, photos, folder / "bodies")
        url = f"http://127.0.0.1:{port}{contender.path}"
        started = time.monotonic()
        watch = Watch()
        with contender.start(port, folder) as tree:
            seconds = wait_for_correct(contender, url, tree, reference, started)
            yield RunningContender(contender, url, tree, bodies, seconds, watch.interference())


def measure_server(
    contender: Contender, photos: Sequence[Path], reference: Reference, seconds: float, accuracy: bool
) -> Measurement:
    """Measures a server; its accuracy only if `accuracy` is set, because that takes longer.

    Starts it again, and repeats a load, while others take too much of the cores.
    """
    for attempts in itertools.count(1):
        with running(contender, photos, reference) as server:
            print_progress(f"first right answer after {server.start_seconds:.1f} s")
            if not worth_repeating(server.interference, attempts):
                asked = reference if accuracy else None
                return _measure_running(server, seconds, asked)
    raise AssertionError("the number of attempts is bounded")


def _measure_running(server: RunningContender, seconds: float, asked: Reference | None) -> Measurement:
    """The figures of a started server; its accuracy if there are photos to be asked."""
    measured = Measurement(start_seconds=server.start_seconds, start_interference=server.interference)
    if asked:
        measured.accuracy = measure_accuracy(server.contender, server.url, asked)
    server.load(WARM_UP_CLIENTS, WARM_UP_SECONDS)
    measured.idle_mb = server.tree.pss()
    for clients in CLIENTS:
        measured.loads[clients], memory = server.undisturbed_load(clients, seconds)
        measured.load_mb = max(measured.load_mb, memory)
        print_progress(f"{clients} clients: {measured.loads[clients].rate:.0f}/s")
    return measured


def measure_bare_limit(contender: Contender) -> Measurement:
    """Runs the loop without a server, which prints its own figures; again if it was disturbed."""
    measured, seen = undisturbed(lambda: _run_loop(contender))
    measured.loads = {0: replace(measured.loads[0], interference=seen)}
    print_progress(f"{measured.loads[0].rate:.0f}/s")
    return measured


def _run_loop(contender: Contender) -> Measurement:
    with tempfile.TemporaryDirectory() as folder, contender.start(0, Path(folder)) as tree:
        with sampled(tree.pss, MEMORY_INTERVAL) as memory:
            tree.root.wait()
        output = tree.log.read_text(encoding="utf-8")
    try:
        load = Load(**json.loads(output), errors=0)
    except ValueError:
        raise LoadFailed(output) from None
    return Measurement(load_mb=max(memory), loads={0: load})


def _write_bodies(contender: Contender, photos: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:02}" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        path.write_bytes(contender.wire_format.encode(photo.read_bytes()))
    return paths
