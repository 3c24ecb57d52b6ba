"""The load generator: wrk, which posts the same photos in turn to every contender."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.serving.errors import LoadFailed, ToolMissing

SCRIPT = Path(__file__).with_name("post.lua")
# Longer than any contender makes 256 clients wait; what it cuts off counts as an error.
TIMEOUT = 60
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


@dataclass(frozen=True)
class Load:
    """What wrk measured: good answers per second, latency in ms over all answers, and what went wrong."""

    rate: float
    p50: float
    p99: float
    errors: int


def run(urls: Sequence[str], kind: str, bodies: Sequence[Path], clients: int, seconds: float) -> Load:
    """Sends bodies of one content type from so many clients; each waits for its answer before it goes on.

    Several URLs, of servers on this machine, get as many clients each; they differ in nothing but the port.
    """
    # One thread for each: it needs a tenth of a core, and the cores are the contender's.
    command = [
        "wrk",
        f"-t{len(urls)}",
        f"-c{clients}",
        f"-d{max(1, round(seconds))}s",
        f"--timeout={TIMEOUT}s",
        "--latency",
    ]
    command += ["-s", str(SCRIPT), urls[0], "--", kind, *map(str, bodies)]
    environment = os.environ | {"PORTS": " ".join(str(urlsplit(url).port) for url in urls)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=seconds + 3 * TIMEOUT
    )
    return parsed(done.stdout if done.returncode == 0 else done.stderr)


def check() -> str:
    """Which wrk is there, as it says itself; `ToolMissing` without one."""
    if shutil.which("wrk") is None:
        raise ToolMissing("wrk", "apt-get install wrk")
    printed = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return printed.splitlines()[0].split(" [")[0]


def parsed(output: str) -> Load:
    """Reads what wrk prints. Raises `LoadFailed` if a figure is missing."""
    total = re.search(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", output, re.MULTILINE)
    if total is None:
        raise LoadFailed(output)
    seconds = float(total[2]) * MILLISECONDS[total[3]] / 1000
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refusals = int(refused[1]) if refused else 0
    breaks = sum(map(int, broken.groups())) if broken else 0
    good = int(total[1]) - refusals
    return Load(good / seconds, _percentile(50, output), _percentile(99, output), refusals + breaks)


def _percentile(percent: int, output: str) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m|h)\s*$", output, re.MULTILINE)
    if found is None:
        raise LoadFailed(output)
    return float(found[1]) * MILLISECONDS[found[2]]
