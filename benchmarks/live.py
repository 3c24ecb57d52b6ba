"""Measures what changes, trials and workers cost: `python -m benchmarks.live --project DIR`.

Takes three minutes. The project has the built model; `imagenet` takes as long as a real one. Writes
`benchmarks/live.json` and a section of `docs/live.md`.
"""

import hashlib
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.command_line import Run, measure_and_write, project_parser
from benchmarks.documents import LIVE, markdown_table, replace_section, write_json
from benchmarks.interference import Watch, check_undisturbed, undisturbed
from benchmarks.serving.conditions import cpu_model, date_and_commit
from benchmarks.serving.load_generator import generate_load
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json, write_file
from serving.artifact.manifest import GOLDEN, MANIFEST, SERVING, ManifestFile
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.images import encode_image
from tests.serving.servers import Server, publish, running
from tests.serving.updates.versions import pin_and_await, pulled, write_pin

RESULTS = Path(__file__).with_name("live.json")
# Rounds of each kind, which take turns, and their seconds.
ROUNDS, SECONDS = 5, 4.0
CLIENTS = 8
# Seconds between two changes, changes before memory is measured first, and in all.
SWAP_SECONDS, FIRST_SWAPS, SWAPS = 0.5, 5, 50
# Different images for each round of a trial, which does not compare the same one twice.
IMAGES = 1000
TARGETS = {"workers": 1.7, "swap_p99": 2.0, "swap_memory": 1.05, "shadow": 0.95}


@dataclass(frozen=True)
class Versions:
    """A folder with two versions of a model, which differ in their digest alone."""

    folder: Path
    pins: tuple[Pin, Pin]


def write_versions(project: Path, model: str, folder: Path) -> Versions:
    """Copies the bundle of a project twice; the second one tolerates a little less."""
    bundle = Bundle.open(project / "models" / model / "bundle")
    files = {name: bundle.read(name) for name, file in bundle.manifest.files.items() if file.role == SERVING}
    golden = json.loads(files[GOLDEN])
    changed = files | {GOLDEN: to_json(golden | {"tolerance": 0.99 * golden["tolerance"]})}
    pins = []
    for number, contents in enumerate((files, changed), 1):
        listed = {
            name: ManifestFile(SERVING, hashlib.sha256(data).hexdigest(), len(data))
            for name, data in contents.items()
        }
        manifest = replace(bundle.manifest, name="colours", files=listed).to_bytes()
        pin = Pin("colours", number, hashlib.sha256(manifest).hexdigest())
        for name, data in {**contents, MANIFEST: manifest}.items():
            write_file(pulled(folder, pin) / name, data)
        pins.append(pin)
    (folder / "pins").mkdir()
    write_pin(folder, pins[0])
    return Versions(folder, (pins[0], pins[1]))


def measure_workers(folder: Path) -> dict[str, Any]:
    """Answers per second of a tiny model with one worker and with two, and the memory of each."""
    image = folder / "image.png"
    image.write_bytes(one_colour_png(COLOURS["red"]))
    rates: dict[int, list[float]] = {1: [], 2: []}
    others = []
    with ExitStack() as stack:
        servers = {}
        for workers in rates:
            published = publish(folder / f"workers-{workers}")
            servers[workers] = stack.enter_context(running(published, workers=workers, slots=2))
        time.sleep(2)
        memory = {workers: memory_of(server) for workers, server in servers.items()}
        for _, (workers, server) in itertools.product(range(ROUNDS), servers.items()):
            url = [f"{server.url}/predict"]
            load, seen = undisturbed(partial(generate_load, url, "image/png", [image], CLIENTS, SECONDS))
            rates[workers].append(load.rate)
            others.append(seen.rounded)
    medians = {workers: statistics.median(found) for workers, found in rates.items()}
    ratio = medians[2] / medians[1]
    return {"rates": rates, "ratio": ratio, "memory_mb": memory, "others": others}


def measure_swaps(versions: Versions) -> dict[str, Any]:
    """The latency at 8 clients with and without changes, and the memory after some and after many."""
    photo = versions.folder / "photo.jpg"
    photo.write_bytes(next(photos(1)))
    quiet, swapping, others = [], [], []
    with running(versions.folder, workers=1, bake=0, keepalive=60) as server:
        for _ in range(ROUNDS):
            load, seen = undisturbed(lambda: _load(server, photo))
            quiet.append(load.p99)
            others.append(seen.rounded)
            with changing(server, versions):
                load, seen = undisturbed(lambda: _load(server, photo))
            swapping.append(load.p99)
            others.append(seen.rounded)
        pin_and_await(server, versions.pins[0])
    memory = []
    with running(versions.folder, workers=1, bake=0, keepalive=60) as server:
        _load(server, photo)
        for number in range(1, SWAPS + 1):
            pin_and_await(server, versions.pins[number % 2])
            if number in (FIRST_SWAPS, SWAPS):
                _load(server, photo)
                # The version before is dropped at the next look.
                time.sleep(1)
                memory.append(server.pss)
    p99 = {"quiet": statistics.median(quiet), "swapping": statistics.median(swapping)}
    return {
        "p99_ms": {"quiet": quiet, "swapping": swapping},
        "p99_ratio": p99["swapping"] / p99["quiet"],
        "pss_mb": {"after_5": memory[0], "after_50": memory[1]},
        "memory_ratio": memory[1] / memory[0],
        "others": others,
    }


def _load(server: Server, photo: Path) -> Any:  # noqa: ANN401
    return generate_load([f"{server.url}/predict"], "image/jpeg", [photo], CLIENTS, SECONDS)


@contextmanager
def changing(server: Server, versions: Versions) -> Iterator[None]:
    """Changes the version again and again during the block."""
    stop = threading.Event()

    def change() -> None:
        for pin in itertools.cycle(reversed(versions.pins)):
            if stop.is_set():
                return
            pin_and_await(server, pin)
            stop.wait(SWAP_SECONDS)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure_shadow(versions: Versions) -> dict[str, Any]:
    """Answers per second for one client of two slots, with a candidate that sees all images and without."""
    images = _write_photos(versions.folder.parent / "photos")
    rates: dict[str, list[float]] = {"alone": [], "with a candidate": []}
    errors, others = 0, []
    with ExitStack() as stack:
        alone = stack.enter_context(running(_copy(versions, "alone"), workers=1, slots=2))
        settings = {"workers": 1, "slots": 2, "shadow": 1, "agreement": 0.999}
        tried = stack.enter_context(running(_copy(versions, "tried"), **settings))
        write_pin(tried.folder, versions.pins[1])
        time.sleep(2)
        servers = dict(zip(rates, (alone, tried), strict=True))
        for round_number, (name, server) in itertools.product(range(ROUNDS), servers.items()):
            # Images that this candidate has not seen.
            bodies = images[round_number * IMAGES :][:IMAGES]
            # Not repeated: the candidate would not compare the same images again.
            watch = Watch()
            load = generate_load([f"{server.url}/predict"], "image/jpeg", bodies, 1, SECONDS)
            others.append(watch.interference().rounded)
            rates[name].append(load.rate)
            errors += load.errors
        (state,) = [each for each in tried.get("/models").json()["models"][0]["versions"] if "trial" in each]
    medians = [statistics.median(found) for found in rates.values()]
    return {
        "rates": rates,
        "ratio": medians[1] / medians[0],
        "compared": state["trial"]["compared"],
        "dropped": state["trial"]["dropped"],
        "refused": errors,
        "others": others,
    }


def _write_photos(folder: Path) -> list[Path]:
    """Different photos for all rounds."""
    folder.mkdir()
    paths = []
    for number, photo in enumerate(photos(ROUNDS * IMAGES)):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(photo)
    return paths


def _copy(versions: Versions, name: str) -> Path:
    """Another workspace with the same versions."""
    folder = versions.folder.parent / name
    for path in versions.folder.rglob("*"):
        if path.is_file() and path.name != "log":
            write_file(folder / path.relative_to(versions.folder), path.read_bytes())
    write_pin(folder, versions.pins[0])
    return folder


def photos(count: int) -> Iterator[bytes]:
    """Different JPEGs of 320 x 240 pixels."""
    random = np.random.default_rng(1)
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        yield encode_image(Image.fromarray(coarse).resize((320, 240)), "JPEG", quality=85)


def memory_of(server: Server) -> dict[str, Any]:
    """PSS of master and workers, and what each worker has for itself, in MB."""
    master = psutil.Process(server.process.pid)
    processes = [master, *master.children()]
    found = [process.memory_full_info() for process in processes]
    return {
        "pss": round(sum(each.pss for each in found) / 2**20),
        "own": [round(each.uss / 2**20, 1) for each in found[1:]],
    }


def section_text(results: dict[str, Any]) -> str:
    """The section of docs/live.md."""
    workers, swaps, shadow = results["workers"], results["swaps"], results["shadow"]
    rates = {number: statistics.median(found) for number, found in workers["rates"].items()}
    memory = workers["memory_mb"]
    one, two = rates.values()
    quiet, swapping = (statistics.median(found) for found in swaps["p99_ms"].values())
    alone, tried = (statistics.median(found) for found in shadow["rates"].values())
    pss = swaps["pss_mb"]
    rows: Sequence[Sequence[object]] = [
        (
            "answers/s of a tiny model with one worker, and with two",
            f"{one:.0f}, {two:.0f}",
            f"{workers['ratio']:.2f}",
            _verdict(workers["ratio"] >= TARGETS["workers"], "≥ 1.7"),
        ),
        (
            "memory of the same (PSS)",
            ", ".join(f"{each['pss']} MB" for each in memory.values()),
            "",
            "",
        ),
        (
            f"p99 with {CLIENTS} clients, and with a change every half second",
            f"{quiet:.0f}, {swapping:.0f} ms",
            f"{swaps['p99_ratio']:.2f}",
            _verdict(swaps["p99_ratio"] <= TARGETS["swap_p99"], "≤ 2"),
        ),
        (
            "memory after 5 changes, and after 50",
            f"{pss['after_5']}, {pss['after_50']} MB",
            f"{swaps['memory_ratio']:.2f}",
            _verdict(swaps["memory_ratio"] <= TARGETS["swap_memory"], "≤ 1.05"),
        ),
        (
            "answers/s for one client of two slots, and with a candidate that sees every image",
            f"{alone:.0f}, {tried:.0f}",
            f"{shadow['ratio']:.2f}",
            _verdict(shadow["ratio"] >= TARGETS["shadow"] and not shadow["refused"], "≥ 0.95"),
        ),
    ]
    table = markdown_table(["", "measured", "ratio", "target"], rows)
    seen = f"The candidate saw {shadow['compared']:,} images, and {shadow['dropped']:,} were dropped; "
    seen += f"{shadow['refused']} requests were refused."
    where = f"{results['date']}, commit {results['commit']}, {results['cpu']}, 2 cores that the clients share"
    return f"{table}\n{where}; medians of {ROUNDS} rounds in turn, model `{results['model']}`. {seen}\n"


def _verdict(met: bool, target: str) -> str:
    return f"{target}: {'met' if met else 'missed'}"


def main() -> int:
    """Runs the command; returns its exit code."""
    parser = project_parser("benchmarks.live", "Measures what changes, trials and workers cost.")
    parser.add_argument("--model", default="imagenet")
    options = parser.parse_args()
    return measure_and_write(lambda: run(options.project, options.model), write)


def run(project: Path, model: str) -> Run:
    """Measures all parts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny").mkdir()
        results = {
            **date_and_commit(),
            "cpu": cpu_model(),
            "model": model,
            "workers": measure_workers(folder / "tiny"),
        }
        versions = write_versions(project, model, folder / "versions")
        results["swaps"] = measure_swaps(versions)
        results["shadow"] = measure_shadow(versions)
    return results


def write(results: dict[str, Any]) -> None:
    """Writes the results and shows them in the document. Raises `Disturbed` instead if others disturbed."""
    shares = {part: results[part]["others"] for part in ("workers", "swaps", "shadow")}
    check_undisturbed(shares, section_text(results))
    write_json(RESULTS, results)
    replace_section(LIVE, "live", section_text(results))


if __name__ == "__main__":
    sys.exit(main())
