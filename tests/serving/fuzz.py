"""Fuzzes the decoder with mutated image files: `python -m tests.serving.fuzz [SECONDS]`.

Prints the files that exceed the limits of memory or time, with the seed that reproduces them.
"""

import random
import sys
import time

from tests.serving.decoding_cost import CostMeter
from tests.serving.images import CORPUS

# Integers that decoders often mishandle: zero, the largest, the sign bit, one.
EDGE_VALUES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\x01",
    b"\xff\xff",
    b"\0\0",
)


def mutate(valid: bytes, rng: random.Random) -> bytes:
    """A copy with some bytes changed, repeated or removed, mostly at the front, where headers are."""
    data = bytearray(valid)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if not data:
            break
        offset = rng.randrange(min(len(data), rng.choice([40, 100, 400, len(data)])))
        match rng.randrange(5):
            case 0 | 1:
                data[offset] = rng.randrange(256)
            case 2:
                value = rng.choice(EDGE_VALUES)
                data[offset : offset + len(value)] = value
            case 3:
                length = rng.choice([1, 4, 16, 100])
                data[offset:offset] = data[offset : offset + length] * rng.choice([1, 1, 50])
            case 4:
                del data[offset : offset + rng.choice([1, 4, 16, 100])]
    if data and rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def main(seconds: float) -> int:
    """Returns 1 if a file took more than 250 MB or 1.5 s. A crash of the decoder ends the run."""
    end, seed, failures = time.monotonic() + seconds, time.time_ns(), 0
    with CostMeter() as meter:
        files = 0
        while time.monotonic() < end:
            files, seed = files + 1, seed + 1
            name = random.Random(seed).choice(list(CORPUS))
            cost = meter.measure(mutate(CORPUS[name][0], random.Random(f"{seed} {name}")))
            if cost.megabytes > 250 or cost.seconds > 1.5:
                failures += 1
                print(f"{name}, {seed}: {cost}", flush=True)
    print(f"{files:,} files, {failures} too costly")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
