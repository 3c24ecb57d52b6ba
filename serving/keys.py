"""API keys: the file that names them, and `python -m serving.keys`, which makes one.

    # name   SHA-256 of the key   what it may do, if that has a bound
    alice    3f2a...c9            expires=2027-01-31  quota=10000/day
    bob      77b0...1e

A key is good until the end of its day (UTC). Keys of one name and one quota are counted together, so that a
new key can take the place of an old one while both are in use. Digests alone, with commas or spaces between
them, are keys without a name: the beginning of the digest stands for it.
"""

import argparse
import hashlib
import os
import re
import secrets
import stat
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

from serving import rates
from serving.rates import Rate

DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
NAMES = "a name has up to 48 letters, digits, dots, hyphens and underscores"
# Digits of a digest that stand for a key without a name.
SHOWN = 12
# Each key is compared with each one that is sent, which takes 0.1 ms for a thousand.
FILE_BYTES, MOST_KEYS = 2**20, 1000
# Random bytes of a new key: nobody can try so many.
KEY_BYTES = 32


class KeysInvalid(ValueError):
    """What is wrong with a file of keys, and where; nothing of what it holds."""


class Key(NamedTuple):
    """One key. `digest` is its SHA-256 in hexadecimal, `expires` the moment from which on it is refused."""

    name: str
    digest: str
    expires: datetime | None = None
    quota: Rate | None = None

    @classmethod
    def unnamed(cls, digest: str) -> "Key":
        """A key of which only the digest is known."""
        return cls(digest[:SHOWN], digest)


def read(path: Path) -> tuple[Key, ...]:
    """The keys of a file; raises `OSError` or `KeysInvalid`."""
    # Opening a pipe would wait for somebody who writes into it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise KeysInvalid("it is no regular file")
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise KeysInvalid(f"it has more than {FILE_BYTES:,} bytes")
    try:
        return parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise KeysInvalid("it is not UTF-8") from None


def parse(text: str) -> tuple[Key, ...]:
    """The keys of a text; raises `KeysInvalid`."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            keys += _line(line.partition("#")[0])
        except ValueError as error:
            raise KeysInvalid(f"line {number}: {error}") from None
    if not keys:
        raise KeysInvalid("it holds no key: without it everybody may ask")
    if len(keys) > MOST_KEYS:
        raise KeysInvalid(f"it holds more than {MOST_KEYS:,} keys")
    if len({key.digest for key in keys}) != len(set(keys)):
        raise KeysInvalid("one key stands in it with two names, or with two bounds")
    return tuple(keys)


def _line(line: str) -> list[Key]:
    """The key of a line, or several that are no more than digests."""
    digests = line.replace(",", " ").split()
    if all(DIGEST.fullmatch(digest) for digest in digests):
        return [Key.unnamed(digest) for digest in digests]
    name, *rest = line.split()
    if not NAME.fullmatch(name):
        raise ValueError(NAMES)
    if not rest or not DIGEST.fullmatch(rest[0]):
        raise ValueError("behind the name there is no SHA-256, 64 digits of 0-9 and a-f")
    options = dict(_option(word) for word in rest[1:])
    if len(options) != len(rest) - 1:
        raise ValueError("an option stands there twice")
    expires = expiry(options["expires"]) if "expires" in options else None
    quota = rates.parse_rate(options["quota"]) if "quota" in options else None
    return [Key(name, rest[0], expires, quota)]


def _option(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    if name not in ("expires", "quota") or not value:
        raise ValueError("the options are expires=2027-01-31 and quota=10000/day")
    return name, value


def expiry(text: str) -> datetime:
    """The end of a day (UTC), or a moment with its time zone; raises `ValueError`."""
    try:
        if len(text) == len("2027-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("expires is a day such as 2027-01-31, or a moment such as 2027-01-31T12:00Z")
    return moment


def main(arguments: list[str]) -> int:
    """Prints a new key, which is kept nowhere, and the line for the file; 2 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description="Makes an API key.")
    parser.add_argument("name", help="whose it is; log and metrics show it")
    parser.add_argument("--expires", help="the last day on which it is good, such as 2027-01-31")
    parser.add_argument("--quota", help="how many requests it may make, such as 10000/day")
    given = parser.parse_args(arguments)
    key = secrets.token_urlsafe(KEY_BYTES)
    words = [given.name, hashlib.sha256(key.encode()).hexdigest()]
    words += [f"{name}={text}" for name in ("expires", "quota") if (text := getattr(given, name))]
    line = "  ".join(words)
    try:
        (made,) = parse(line)
        if made.name != given.name:
            raise KeysInvalid(NAMES)
        if made.expires and made.expires <= datetime.now(UTC):
            raise KeysInvalid(f"--expires is {given.expires}, which is over")
    except ValueError as error:
        print(f"No key was made: {str(error).removeprefix('line 1: ')}.", file=sys.stderr)
        return 2
    print(f"{key}\n{line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
