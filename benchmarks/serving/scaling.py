"""Scaling of this server with clients and with the size of photos, and of the bare limit with threads."""

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from benchmarks.command_line import print_progress
from benchmarks.serving.contenders import LONG_QUEUE, Contender, bare_limit, goldfish
from benchmarks.serving.measurement import (
    WARM_UP_CLIENTS,
    WARM_UP_SECONDS,
    RunningContender,
    measure_bare_limit,
    running,
)
from benchmarks.serving.project import Project
from benchmarks.serving.statistics import Row, summarise_loads
from benchmarks.serving.verification import Reference
from serving.config import Settings

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Numbers of clients that exceed the default queue, so that some requests are refused.
OVERLOADS = (64, 256)
# Clients of the runs with other photo sizes.
PHOTO_CLIENTS = 8
# Pixels, from a thumbnail of 10 kB to the 12 megapixels of a phone's camera.
SIZES = ((200, 150), (320, 240), (640, 480), (1280, 960), (2560, 1920), (4000, 3000))
QUALITY = 92
# Threads of the bare loop, and ONNX Runtime threads in each prediction.
THREADS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1))


def measure_scaling(project: Project, reference: Reference, seconds: float) -> Row:
    """Measures what the three tables show, with the project's own bundle."""
    steps = len(CLIENTS) + len(OVERLOADS) + len(SIZES) + len(THREADS)
    # Start and warm-up take three seconds.
    print(f"scaling, about {steps * (seconds + 3) / 60:.0f} min", flush=True)
    long_queue = goldfish(project, project.default, **LONG_QUEUE)
    default_queue = goldfish(project, project.default)
    rows = [
        *_vary_clients(long_queue, project, reference, CLIENTS, int(LONG_QUEUE["GOLDFISH_QUEUE"]), seconds),
        *_vary_clients(default_queue, project, reference, OVERLOADS, Settings().queue, seconds),
    ]
    return {
        "clients": rows,
        "photos": _vary_photo_size(long_queue, project, reference, seconds),
        "loops": [_measure_loop(project, threads, inner, seconds) for threads, inner in THREADS],
    }


def _vary_clients(
    contender: Contender,
    project: Project,
    reference: Reference,
    numbers: Iterable[int],
    queue: int,
    seconds: float,
) -> list[Row]:
    with running(contender, project.load_photos, reference) as server:
        server.load(WARM_UP_CLIENTS, WARM_UP_SECONDS)
        return [
            {"clients": number, "queue": queue} | _measure_load(server, number, seconds) for number in numbers
        ]


def _vary_photo_size(
    contender: Contender, project: Project, reference: Reference, seconds: float
) -> list[Row]:
    """The largest photo in several sizes. Each has a new server, whose memory grows with the size."""
    rows = []
    largest = max((photo.path for photo in project.accuracy_photos), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            print_progress(f"{width} x {height}")
            photo = Path(folder) / f"{width}.jpg"
            photo.write_bytes(resize(largest.read_bytes(), width, height))
            with running(contender, [photo], reference) as server:
                size = {"width": width, "height": height, "bytes": photo.stat().st_size}
                rows.append(size | _measure_load(server, PHOTO_CLIENTS, seconds))
    return rows


def resize(photo: bytes, width: int, height: int) -> bytes:
    """The photo in another size, as a JPEG."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(photo)) as image:
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    resized.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _measure_loop(project: Project, threads: int, inner: int, seconds: float) -> Row:
    print_progress(f"{threads} threads in a loop, {inner} in each prediction")
    loop = bare_limit(project.default, project.load_photos, seconds, threads, inner)
    load = measure_bare_limit(loop).loads[0]
    return {"threads": threads, "inner": inner} | summarise_loads([load])


def _measure_load(server: RunningContender, clients: int, seconds: float) -> Row:
    load, memory = server.undisturbed_load(clients, seconds)
    print_progress(f"{clients} clients: {load.rate:.0f}/s")
    return summarise_loads([load]) | {"load_mb": round(memory)}
