"""How one server grows with clients and with the size of photos, and what a loop without it can do."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.serving.asking import Reference
from benchmarks.serving.contender import Contender
from benchmarks.serving.contenders import QUEUE, limit, ours
from benchmarks.serving.project import Project
from benchmarks.serving.visit import WARM_UP, Running, running, visit_limit
from serving.config import Settings

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Beyond the queue that it has unless told otherwise, what comes too much is refused.
CROWDS = (64, 256)
USUAL = 8
# From a thumbnail of 10 kB to what phones take, 12 megapixels.
SIZES = ((200, 150), (320, 240), (640, 480), (1280, 960), (2560, 1920), (4000, 3000))
QUALITY = 92
THREADS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1))

Seen = dict[str, Any]
Tell = Callable[[str], None]


def measure(project: Project, reference: Reference, seconds: float, folder: Path, tell: Tell) -> Seen:
    """All sections, with the project's own bundle."""
    steps = len(CLIENTS) + len(CROWDS) + len(SIZES) + len(THREADS)
    # A start takes a second, a warm-up two.
    print(f"how ours grows, about {steps * (seconds + 3) / 60:.0f} min", flush=True)
    patient = ours(project.default, project.root / "reports", **QUEUE)
    impatient = ours(project.default, project.root / "reports")

    def with_clients(contender: Contender, numbers: Iterable[int], queue: str) -> list[Seen]:
        with running(contender, project.sent, reference) as server:
            server.load(USUAL, WARM_UP)
            return [
                {"clients": number, "queue": int(queue)} | _loaded(server, number, seconds, tell)
                for number in numbers
            ]

    return {
        "clients": [
            *with_clients(patient, CLIENTS, QUEUE["GOLDFISH_QUEUE"]),
            *with_clients(impatient, CROWDS, str(Settings().queue)),
        ],
        "photos": _photos(project, reference, patient, seconds, folder, tell),
        "loops": list(_loops(project, seconds, tell)),
    }


def _photos(
    project: Project, reference: Reference, contender: Contender, seconds: float, folder: Path, tell: Tell
) -> list[Seen]:
    """The largest photo in many sizes, each with a fresh server: memory shows what a size takes."""
    seen = []
    source = max((photo.path for photo in project.asked), key=lambda path: path.stat().st_size).read_bytes()
    for width, height in SIZES:
        photo = folder / f"{width}.jpg"
        photo.write_bytes(resized(source, width, height))
        with running(contender, [photo], reference) as server:
            tell(f"{width} x {height}")
            size = {"width": width, "height": height, "bytes": photo.stat().st_size}
            seen.append(size | _loaded(server, USUAL, seconds, tell))
    return seen


def resized(photo: bytes, width: int, height: int) -> bytes:
    """The photo at another size, as a JPEG."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(
            out, "JPEG", quality=QUALITY
        )
    return out.getvalue()


def _loops(project: Project, seconds: float, tell: Tell) -> Iterable[Seen]:
    """The limit with other numbers of threads, each of which may use several in ONNX Runtime."""
    for threads, inner in THREADS:
        tell(f"{threads} threads in a loop, {inner} in each prediction")
        seen = visit_limit(limit(project.default, project.sent, seconds, threads, inner), tell).loads[0]
        yield {"threads": threads, "inner": inner, "rate": round(seen.rate, 1), "p50_ms": round(seen.p50, 1)}


def _loaded(server: Running, clients: int, seconds: float, tell: Tell) -> Seen:
    seen, weight = server.load(clients, seconds)
    tell(f"{clients} clients: {seen.rate:.0f}/s")
    return {
        "rate": round(seen.rate, 1),
        "p50_ms": round(seen.p50, 1),
        "p99_ms": round(seen.p99, 1),
        "load_mb": round(weight),
        "errors": seen.errors,
    }
