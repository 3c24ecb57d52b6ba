"""Files with mistakes in them, for as long as one wants: `python -m tests.serving.fuzz [SECONDS]`.

Prints what costs more than a picture may cost, with the number that makes the same file again.
"""

import random
import sys
import time

from tests.serving.decoding_cost import CostMeter
from tests.serving.images import CORPUS

# Numbers where decoders go wrong: nothing, all, the sign, lengths of one's own header.
ODD = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\x01",
    b"\xff\xff",
    b"\0\0",
)


def mutate(valid: bytes, chance: random.Random) -> bytes:
    """A file with some bytes changed, repeated or missing; mostly at its front, where headers are."""
    data = bytearray(valid)
    for _ in range(chance.choice([1, 1, 2, 8])):
        if not data:
            break
        at = chance.randrange(min(len(data), chance.choice([40, 100, 400, len(data)])))
        match chance.randrange(5):
            case 0 | 1:
                data[at] = chance.randrange(256)
            case 2:
                odd = chance.choice(ODD)
                data[at : at + len(odd)] = odd
            case 3:
                length = chance.choice([1, 4, 16, 100])
                data[at:at] = data[at : at + length] * chance.choice([1, 1, 50])
            case 4:
                del data[at : at + chance.choice([1, 4, 16, 100])]
    if data and chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


def main(seconds: float) -> int:
    """Gives 1 if something cost more than 250 MB or 1.5 s; a crash ends it."""
    end, seed, found = time.monotonic() + seconds, time.time_ns(), 0
    with CostMeter() as meter:
        tried = 0
        while time.monotonic() < end:
            tried, seed = tried + 1, seed + 1
            name = random.Random(seed).choice(list(CORPUS))
            cost = meter.cost(mutate(CORPUS[name][0], random.Random(f"{seed} {name}")))
            if cost.megabytes > 250 or cost.seconds > 1.5:
                found += 1
                print(f"{name}, {seed}: {cost}", flush=True)
    print(f"{tried:,} files, {found} too costly")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
