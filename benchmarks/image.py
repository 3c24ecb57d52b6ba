"""Size and start time of the container image, beside a tutorial's image: `python -m benchmarks.image`.

Both are built on the same base image, ours with the model digits of the workspace. Writes
`benchmarks/image.json` and a table in `README.md`.
"""

import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.documents import README, ROOT, markdown_table, replace_section, write_json
from deploy.smoke import container_address, running_container, wait_until_ready
from tests.deploy.engine import docker, engine, environment, stand_in

RESULTS = Path(__file__).with_name("image.json")
DOCUMENT = README
TUTORIAL = Path(__file__).with_name("tutorial")
OURS, THEIRS = "goldfish-benchmark", "goldfish-benchmark-tutorial"
MEGABYTE = 1_000_000


def size(image: str) -> int:
    """Size of all layers, unpacked, MB."""
    return round(int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout) / MEGABYTE)


def build_tutorial(base: str) -> str:
    """Builds the tutorial's image; returns its name."""
    docker("build", "--network", "host", "--tag", THEIRS, "--build-arg", f"BASE={base}", str(TUTORIAL))
    return THEIRS


def build_ours(base: str) -> str:
    """Builds the image of the model digits in the workspace; returns its name."""
    settings = ["MODEL=digits", f"IMAGE={OURS}", f"BASE={base}", "BUILD_OPTIONS=--network host"]
    subprocess.run(["make", "image", *settings], cwd=ROOT, env=environment(), check=True)
    return OURS


def seconds_to_ready(image: str) -> float:
    """Seconds from `docker run` to the first 200 of /readyz, the best of three."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        with running_container(image) as container:
            wait_until_ready(container, container_address(container))
            times.append(time.monotonic() - began)
    return min(times)


def table(results: dict[str, Any]) -> str:
    """The section of the README."""
    ours, theirs, base = results["ours_mb"], results["tutorial_mb"], results["base_mb"]
    tutorial = "as a tutorial builds it: TensorFlow, Flask, Gunicorn"
    ratio = (f"1/{theirs / ours:.1f}", f"1/{(theirs - base) / (ours - base):.1f}")
    rows = [
        ("this one, with the digits", f"{ours} MB", f"{ours - base} MB"),
        (tutorial, f"{theirs:,} MB", f"{theirs - base:,} MB"),
        ("ratio; the target was 1/5", *ratio),
    ]
    return (
        f"{markdown_table(['image', 'size', 'without the base'], rows)}\n"
        f"Both on one base ({base} MB), by `python -m benchmarks.image`. From `docker run` to ready: "
        f"{results['ready_seconds']:.1f} s, hardened.\n"
    )


def measure(base: str, ours: str, theirs: str) -> dict[str, float]:
    """The figures of `image.json`; the arguments are names of images."""
    return {
        "base_mb": size(base),
        "ours_mb": size(ours),
        "tutorial_mb": size(theirs),
        "ready_seconds": round(seconds_to_ready(ours), 2),
    }


def main() -> None:
    """Builds both images, measures them and writes the results."""
    with engine() as folder:
        base = stand_in(folder)
        ours, theirs = build_ours(base), build_tutorial(base)
        results = measure(base, ours, theirs)
        docker("image", "rm", "--force", ours, theirs)
    write_json(RESULTS, results)
    replace_section(DOCUMENT, "image", table(results))


if __name__ == "__main__":
    main()
