"""The size of the image beside one as tutorials build it, and its start: `python -m benchmarks.image`.

Both are built from one base, ours with the workspace's digits. It writes `benchmarks/image.json` and a table.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.documents import ROOT, show
from deploy.smoke import address, seconds_until_ready, started
from tests.deploy.engine import docker, engine, environment, stand_in

RESULTS = Path(__file__).with_name("image.json")
DOCUMENT = ROOT / "README.md"
TUTORIAL = Path(__file__).with_name("tutorial")
OURS, THEIRS = "goldfish-benchmark", "goldfish-benchmark-tutorial"
MEGABYTE = 1_000_000


def size(image: str) -> int:
    """Of all layers, unpacked, in MB."""
    return round(int(docker("image", "inspect", "--format", "{{.Size}}", image).stdout) / MEGABYTE)


def build_tutorial(base: str) -> str:
    """Builds what the tutorial would."""
    arguments = ("--network", "host", "--tag", THEIRS, "--build-arg", f"BASE={base}", str(TUTORIAL))
    docker("build", *arguments)
    return THEIRS


def build_ours(base: str) -> str:
    """Builds the image of the digits in the workspace."""
    settings = ["MODEL=digits", f"IMAGE={OURS}", f"BASE={base}", "BUILD_OPTIONS=--network host"]
    subprocess.run(["make", "image", *settings], cwd=ROOT, env=environment(), check=True)
    return OURS


def seconds_to_ready(image: str) -> float:
    """From the start of the container to its first good answer of /readyz, the best of three."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        with started(image) as container:
            seconds_until_ready(container, address(container))
            times.append(time.monotonic() - began)
    return min(times)


def table(results: dict[str, Any]) -> str:
    """The results as the manual shows them."""
    ours, theirs, base = results["ours_mb"], results["tutorial_mb"], results["base_mb"]
    return (
        "| image | size | without the base |\n| --- | --- | --- |\n"
        f"| this one, with the digits | {ours} MB | {ours - base} MB |\n"
        f"| as a tutorial builds it: TensorFlow, Flask, Gunicorn | {theirs:,} MB | {theirs - base:,} MB |\n"
        f"| ratio; the target was 1/5 | 1/{theirs / ours:.1f} | 1/{(theirs - base) / (ours - base):.1f} |\n\n"
        f"Both on one base ({base} MB), by `python -m benchmarks.image`. From `docker run` to ready: "
        f"{results['ready_seconds']:.1f} s, hardened.\n"
    )


def measure(base: str, ours: str, theirs: str) -> dict[str, float]:
    """The figures of `image.json`."""
    return {
        "base_mb": size(base),
        "ours_mb": size(ours),
        "tutorial_mb": size(theirs),
        "ready_seconds": round(seconds_to_ready(ours), 2),
    }


def main() -> None:
    """Builds both, and writes."""
    with engine() as folder:
        base = stand_in(folder)
        ours, theirs = build_ours(base), build_tutorial(base)
        results = measure(base, ours, theirs)
        docker("image", "rm", "--force", ours, theirs)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show(DOCUMENT, "image", table(results))
    print(table(results))


if __name__ == "__main__":
    main()
