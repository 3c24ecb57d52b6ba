"""The file of API keys: its format and its parser. `python -m serving.keys` makes a key and its line.

    # name   SHA-256 of the key   optional limits
    alice    3f2a...c9            expires=2027-01-31  quota=10000/day
    bob      77b0...1e

A key is valid until the end of its expiry day (UTC). Keys with the same name and quota share one counter, so
a key can be replaced while the old one is still in use. A line may also hold digests alone, separated by
commas or spaces: keys without a name, which are shown by the first digits of their digest.
"""

import os
import re
import stat
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

from serving import rates
from serving.rates import Rate

DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
NAME_RULE = "a name has up to 48 letters, digits, dots, hyphens and underscores"
# Digits of its digest that serve as the name of a key without one.
SHORT_DIGEST = 12
# Every request's key is compared with all keys of the file: 0.1 ms for a thousand.
MAX_FILE_BYTES, MAX_KEYS = 2**20, 1000


class KeyFileInvalid(ValueError):
    """What is wrong in the key file and in which line. The message never repeats the file's content."""


class ApiKey(NamedTuple):
    """`digest` is the key's SHA-256 in hexadecimal. The key is rejected from the moment `expires` on."""

    name: str
    digest: str
    expires: datetime | None = None
    quota: Rate | None = None

    @classmethod
    def unnamed(cls, digest: str) -> "ApiKey":
        """A key of which only the digest is given."""
        return cls(digest[:SHORT_DIGEST], digest)


def read_key_file(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file; raises `OSError` or `KeyFileInvalid`."""
    # Without O_NONBLOCK, opening a named pipe would block until another process writes to it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise KeyFileInvalid("it is no regular file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileInvalid(f"it has more than {MAX_FILE_BYTES:,} bytes")
    try:
        return parse_keys(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise KeyFileInvalid("it is not UTF-8") from None


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of a key file's text; raises `KeyFileInvalid`."""
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            keys += _parse_line(line.partition("#")[0])
        except ValueError as error:
            raise KeyFileInvalid(f"line {number}: {error}") from None
    if not keys:
        raise KeyFileInvalid("it holds no key, and without keys the server would be open to everybody")
    if len(keys) > MAX_KEYS:
        raise KeyFileInvalid(f"it holds more than {MAX_KEYS:,} keys")
    if len({key.digest for key in keys}) != len(set(keys)):
        raise KeyFileInvalid("one key is listed with two names, or with two limits")
    return tuple(keys)


def _parse_line(line: str) -> list[ApiKey]:
    """The named key of a line, or the keys of a line that holds only digests."""
    digests = line.replace(",", " ").split()
    if all(DIGEST.fullmatch(digest) for digest in digests):
        return [ApiKey.unnamed(digest) for digest in digests]
    name, *rest = line.split()
    if not NAME.fullmatch(name):
        raise ValueError(NAME_RULE)
    if not rest or not DIGEST.fullmatch(rest[0]):
        raise ValueError("after the name there is no SHA-256, 64 digits of 0-9 and a-f")
    options = dict(_parse_option(word) for word in rest[1:])
    if len(options) != len(rest) - 1:
        raise ValueError("an option is given twice")
    expires = parse_expiry(options["expires"]) if "expires" in options else None
    quota = rates.parse_rate(options["quota"]) if "quota" in options else None
    return [ApiKey(name, rest[0], expires, quota)]


def _parse_option(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    if name not in ("expires", "quota") or not value:
        raise ValueError("the options are expires=2027-01-31 and quota=10000/day")
    return name, value


def parse_expiry(text: str) -> datetime:
    """The end of a day (UTC), or a time with its time zone; raises `ValueError`."""
    try:
        if len(text) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
        expires = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        expires = None
    if expires is None or expires.tzinfo is None:
        raise ValueError("expires is a day such as 2027-01-31, or a moment such as 2027-01-31T12:00Z")
    return expires
