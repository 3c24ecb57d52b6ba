"""How much memory it takes to decode one file: `python -m tests.serving.memory < file`, on Linux.

A process of its own, because the peak of the test's may already lie above what is looked for.
"""

import re
import subprocess
import sys
from pathlib import Path

from serving.decoder import Preprocessing, decode
from serving.errors import ImageError
from tests.repo.imports import ROOT

# The kernel keeps the peak of a process here; `getrusage` would begin at the peak of its parent.
STATUS = Path("/proc/self/status")


def needed(data: bytes) -> int:
    """By how many MB a fresh process grows that decodes, or refuses, one file."""
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=data, capture_output=True, check=True, cwd=ROOT, timeout=60)
    return int(done.stdout)


def main() -> None:
    """Decodes what comes in on stdin and prints by how many MB the peak rose."""
    data = sys.stdin.buffer.read()
    before = _peak()
    try:
        decode(data, Preprocessing(size=224, crop=0.875))
    except ImageError as error:
        print(error, file=sys.stderr)
    print(_peak() - before)


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"))
    if found is None:
        raise OSError(f"{STATUS} does not name the peak")
    return int(found[1]) // 1024


if __name__ == "__main__":
    main()
