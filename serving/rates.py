"""Rates of requests as settings and key files write them: `60/minute`, `5 per 10 seconds`."""

import re
from typing import NamedTuple

SECONDS_PER_UNIT = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "month": 30 * 86_400,
    "year": 360 * 86_400,
}
RATE = re.compile(
    rf"\s*(\d+)\s*(?:/|per)\s*(\d*)\s*({'|'.join(SECONDS_PER_UNIT)})s?\s*", re.ASCII | re.IGNORECASE
)
SEPARATORS = re.compile("[,;|]")
# Larger numbers are rejected: 10^12 seconds are 30,000 years.
MAX_NUMBER = 10**12


class Rate(NamedTuple):
    """A number of requests per number of seconds."""

    amount: int
    seconds: int

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in SECONDS_PER_UNIT.items() if seconds == self.seconds), None)
        return f"{self.amount}/{unit}" if unit else f"{self.amount}/{self.seconds} seconds"


def parse_rate(text: str) -> Rate:
    """Parses one rate. Raises `ValueError`."""
    match = RATE.fullmatch(text)
    if match and all(len(number) <= len(str(MAX_NUMBER)) for number in match.group(1, 2)):
        rate = Rate(int(match[1]), int(match[2] or 1) * SECONDS_PER_UNIT[match[3].lower()])
        if rate.amount and 0 < rate.seconds < MAX_NUMBER:
            return rate
    raise ValueError("a rate is written like 60/minute or 5 per 10 seconds")


def parse_rates(text: str) -> list[Rate]:
    """Parses rates separated by commas, semicolons or bars. Raises `ValueError`."""
    return [parse_rate(part) for part in SEPARATORS.split(text)]
