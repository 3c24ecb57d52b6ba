"""What decoding a picture costs: a process of its own decodes one after the other, on Linux.

Seconds are those of the processor, which do not depend on what else the machine does. Memory is by how much
the peak of the process rises above what it holds before.
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

# The kernel keeps the peak of a process here, and forgets it on request.
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PATIENCE = 60


class DecodingCost(NamedTuple):
    """MB, seconds, and the code of the refusal or "decoded"."""

    megabytes: int
    seconds: float
    outcome: str


class CostMeter:
    """Keeps the process, for the time of a `with` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def cost(self, data: bytes) -> DecodingCost:
        """Has it decode, or refuse, one file. A crash or an error of another kind fails the test."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("the process has no pipes")
        stdin.write(struct.pack("<I", len(data)) + data)
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise AssertionError(f"the decoder ended with {self._process.wait(PATIENCE)}")
        return DecodingCost(*json.loads(line))


def main() -> None:
    """Reads pictures with their length before them, and writes a line for each."""
    source: BinaryIO = sys.stdin.buffer
    while header := source.read(4):
        data = source.read(struct.unpack("<I", header)[0])
        PEAK_RESET.write_text("5", encoding="ascii")
        before, began = _peak(), time.process_time()
        outcome = _outcome(data)
        print(json.dumps([_peak() - before, time.process_time() - began, outcome]), flush=True)


def _outcome(data: bytes) -> str:
    try:
        decode(data, Preprocessing(size=224, crop=0.875))
    except ImageError as error:
        return error.code
    return "decoded"


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    if found is None:
        raise OSError(f"{STATUS} does not name the peak")
    return int(found[1]) // 1024


if __name__ == "__main__":
    main()
