"""Measures memory and CPU time of decoding an image, in a subprocess, on Linux.

Seconds are CPU time, which does not depend on the load of the machine. Memory is the increase of the
process's peak.
"""

import json
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from serving.errors import ImageError
from serving.model.decoder import Preprocessing, decode
from tests.repo.imports import ROOT

# Where Linux reports the peak memory of a process, and where it is reset.
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
TIMEOUT_SECONDS = 60


class DecodingCost(NamedTuple):
    """MB, CPU seconds, and the code of the error or "decoded"."""

    megabytes: int
    seconds: float
    outcome: str


class CostMeter:
    """Runs the subprocess, for the duration of a `with` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, data: bytes) -> DecodingCost:
        """Decodes one file. A crash, or an exception other than `ImageError`, fails the test."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the process has no pipes")
        stdin.write(struct.pack("<I", len(data)) + data)
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise AssertionError(f"the decoder ended with {self._process.wait(TIMEOUT_SECONDS)}")
        return DecodingCost(*json.loads(line))


def main() -> None:
    """Reads images, each after its length in 4 bytes, and writes a line for each."""
    stream: BinaryIO = sys.stdin.buffer
    while header := stream.read(4):
        data = stream.read(struct.unpack("<I", header)[0])
        PEAK_RESET.write_text("5", encoding="ascii")
        before, began = _peak_megabytes(), time.process_time()
        outcome = _decode(data)
        print(json.dumps([_peak_megabytes() - before, time.process_time() - began, outcome]), flush=True)


def _decode(data: bytes) -> str:
    try:
        decode(data, Preprocessing(size=224, crop=0.875))
    except ImageError as error:
        return error.code
    return "decoded"


def _peak_megabytes() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    if match is None:
        raise OSError(f"{STATUS} does not name the peak")
    return int(match[1]) // 1024


if __name__ == "__main__":
    main()
