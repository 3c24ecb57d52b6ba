"""One visit to a contender: started, asked, loaded, weighed and ended."""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import load
from benchmarks.serving.asking import Answers, Reference, ask_all, await_right
from benchmarks.serving.contender import Contender, Place
from benchmarks.serving.errors import LoadFailed
from benchmarks.serving.load import Load
from benchmarks.serving.processes import Family, family
from tests.serving.servers import free_port

CLIENTS = (1, 8, 64)
WARM_UP = 2.0
# To weigh more often would itself cost time.
WEIGHED_EVERY = 1.0


@dataclass
class Visit:
    """What one round found out about one contender. Memory is PSS of all its processes, MB."""

    start_seconds: float = 0.0
    idle_mb: float = 0.0
    load_mb: float = 0.0
    loads: dict[int, Load] = field(default_factory=dict)
    answers: Answers | None = None


@dataclass(frozen=True)
class Running:
    """A contender that has given its first right answer after `start_seconds`."""

    contender: Contender
    url: str
    family: Family
    bodies: Sequence[Path]
    start_seconds: float

    def load(self, clients: int, seconds: float, beside: Sequence["Running"] = ()) -> tuple[Load, float]:
        """What wrk measures, and the most memory meanwhile, MB.

        `beside`: those that were started after this one, and share the clients with it.
        """
        urls = [self.url, *(other.url for other in beside)]
        with weighed(self.family) as weights:
            seen = load.run(urls, self.contender.wire.kind, self.bodies, clients, seconds)
        return seen, max(weights)


@contextmanager
def running(contender: Contender, photos: Sequence[Path], reference: Reference) -> Iterator[Running]:
    """Starts a contender on a free port, with the bodies of the photos beside it, and ends it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        place = Place(free_port(), Path(name))
        environment, command = contender.environment(place), contender.command(place)
        bodies = _write_bodies(contender, photos, place.folder / "bodies")
        url = f"http://127.0.0.1:{place.port}{contender.path}"
        began = time.monotonic()
        with family(command, place.folder, environment, place.folder / "log") as started:
            seconds = await_right(contender, url, started, reference, began)
            yield Running(contender, url, started, bodies, seconds)


def visit(
    contender: Contender,
    photos: Sequence[Path],
    reference: Reference,
    seconds: float,
    asking: bool,
    tell: Callable[[str], None],
) -> Visit:
    """Measures a server; `asking`: is it asked about all photos too?"""
    with running(contender, photos, reference) as server:
        seen = Visit(start_seconds=server.start_seconds)
        tell(f"right after {seen.start_seconds:.1f} s")
        if asking:
            seen.answers = ask_all(contender, server.url, reference)
        server.load(8, WARM_UP)
        seen.idle_mb = server.family.pss()
        for clients in CLIENTS:
            seen.loads[clients], weight = server.load(clients, seconds)
            seen.load_mb = max(seen.load_mb, weight)
            tell(f"{clients} clients: {seen.loads[clients].rate:.0f}/s")
    return seen


def visit_limit(contender: Contender, tell: Callable[[str], None]) -> Visit:
    """Measures the loop without a server: it knows its own rate."""
    with tempfile.TemporaryDirectory() as name:
        place = Place(0, Path(name))
        command, environment = contender.command(place), contender.environment(place)
        with family(command, place.folder, environment, place.folder / "log") as loop:
            with weighed(loop) as weights:
                loop.leader.wait()
            words = loop.log.read_text(encoding="utf-8")
    with suppress(ValueError):
        seen = Load(**json.loads(words), errors=0)
        tell(f"{seen.rate:.0f}/s")
        return Visit(load_mb=max(weights), loads={0: seen})
    raise LoadFailed(words)


@contextmanager
def weighed(family: Family) -> Iterator[list[float]]:
    """Notes its memory again and again while the block runs, and at the end."""
    stop, weights = threading.Event(), [family.pss()]

    def weigh() -> None:
        while not stop.wait(WEIGHED_EVERY):
            weights.append(family.pss())

    with ThreadPoolExecutor(1) as pool:
        weighing = pool.submit(weigh)
        try:
            yield weights
        finally:
            stop.set()
            weighing.result()
            weights.append(family.pss())


def _write_bodies(contender: Contender, photos: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:02}" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        path.write_bytes(contender.wire.body(photo.read_bytes()))
    return paths
