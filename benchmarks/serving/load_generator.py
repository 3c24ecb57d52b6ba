"""The load generator: wrk posts the same photos in turn to every contender."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.errors import LoadFailed, ToolMissing
from benchmarks.interference import QUIET, Interference
from benchmarks.serving.cores import pinned

SCRIPT = Path(__file__).with_name("post.lua")
# Seconds. No contender takes longer with 256 clients; wrk counts a timeout as an error.
TIMEOUT = 60
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}


@dataclass(frozen=True)
class Load:
    """wrk's figures: successful responses per second, latency in ms over all responses, number of errors.

    `interference` is what others took of the cores meanwhile, where that was watched.
    """

    rate: float
    p50: float
    p99: float
    errors: int
    interference: Interference = QUIET


def generate_load(
    urls: Sequence[str],
    content_type: str,
    bodies: Sequence[Path],
    clients: int,
    seconds: float,
    cores: Sequence[int] = (),
    more_headers: Mapping[str, str] | None = None,
) -> Load:
    """Posts the bodies from `clients` connections, each with one request at a time.

    Several URLs share the connections equally; they must be of this machine and differ only in the port.
    wrk runs on the given cores; without any, on those that this process may use.
    """
    headers = {"Content-Type": content_type, **(more_headers or {})}
    command = [
        "wrk",
        # One thread for each URL: it needs a tenth of a core.
        f"-t{len(urls)}",
        f"-c{clients}",
        f"-d{max(1, round(seconds))}s",
        f"--timeout={TIMEOUT}s",
        "--latency",
        *("-s", str(SCRIPT), urls[0], "--", "\n".join(f"{name}: {value}" for name, value in headers.items())),
        *map(str, bodies),
    ]
    environment = os.environ | {"PORTS": " ".join(str(urlsplit(url).port) for url in urls)}
    done = subprocess.run(
        pinned(command, cores),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 3 * TIMEOUT,
    )
    return parse(done.stdout if done.returncode == 0 else done.stderr)


def wrk_version() -> str:
    """The installed version of wrk. Raises `ToolMissing` without one."""
    if shutil.which("wrk") is None:
        raise ToolMissing("wrk", "apt-get install wrk")
    printed = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return printed.splitlines()[0].split(" [")[0]


def parse(output: str) -> Load:
    """Reads the figures from wrk's output. Raises `LoadFailed` if one is missing."""
    total = re.search(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", output, re.MULTILINE)
    if total is None:
        raise LoadFailed(output)
    seconds = float(total[2]) * MILLISECONDS[total[3]] / 1000
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = int(statuses[1]) if statuses else 0
    broken = sum(map(int, sockets.groups())) if sockets else 0
    rate = (int(total[1]) - refused) / seconds
    return Load(rate, _percentile(50, output), _percentile(99, output), refused + broken)


def _percentile(percent: int, output: str) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m|h)\s*$", output, re.MULTILINE)
    if found is None:
        raise LoadFailed(output)
    return float(found[1]) * MILLISECONDS[found[2]]
