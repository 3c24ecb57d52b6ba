"""How much is allowed in which time, as settings and files write it: `60/minute`, `5 per 10 seconds`."""

import re
from typing import NamedTuple

UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "month": 30 * 86_400,
    "year": 360 * 86_400,
}
FORM = re.compile(rf"\s*(\d+)\s*(?:/|per)\s*(\d*)\s*({'|'.join(UNITS)})s?\s*", re.ASCII | re.IGNORECASE)
SEPARATORS = re.compile("[,;|]")
# More than any clock shows.
MOST = 10**12


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in UNITS.items() if seconds == self.seconds), None)
        return f"{self.amount}/{unit}" if unit else f"{self.amount}/{self.seconds} seconds"


def parse(text: str) -> Rate:
    """One rate; raises `ValueError`."""
    found = FORM.fullmatch(text)
    if found and all(len(number) <= len(str(MOST)) for number in found.group(1, 2)):
        rate = Rate(int(found[1]), int(found[2] or 1) * UNITS[found[3].lower()])
        if rate.amount and 0 < rate.seconds < MOST:
            return rate
    raise ValueError("a rate is written like 60/minute or 5 per 10 seconds")


def parse_several(text: str) -> list[Rate]:
    """Rates with commas or semicolons between them; raises `ValueError`."""
    return [parse(part) for part in SEPARATORS.split(text)]
