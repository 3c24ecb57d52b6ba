"""`python -m serving.keys`: makes an API key and the line for the key file (serving/api/key_file.py)."""

import argparse
import hashlib
import secrets
import sys
from datetime import UTC, datetime

from serving.api.key_file import NAME_RULE, KeyFileInvalid, parse_keys

# Random bytes of a new key: too many combinations to guess.
KEY_BYTES = 32


def main(arguments: list[str]) -> int:
    """Prints a new key, which is stored nowhere, and the line for the key file; 2 on invalid input."""
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description="Makes an API key.")
    parser.add_argument("name", help="name of the key; log and metrics show it")
    parser.add_argument("--expires", help="the last day on which it is valid, such as 2027-01-31")
    parser.add_argument("--quota", help="how many requests it may make, such as 10000/day")
    options = parser.parse_args(arguments)
    key = secrets.token_urlsafe(KEY_BYTES)
    words = [options.name, hashlib.sha256(key.encode()).hexdigest()]
    words += [f"{name}={text}" for name in ("expires", "quota") if (text := getattr(options, name))]
    line = "  ".join(words)
    try:
        # Parsed as the server will parse it, so an invalid name, date or quota is found now.
        (parsed,) = parse_keys(line)
        if parsed.name != options.name:
            raise KeyFileInvalid(NAME_RULE)
        if parsed.expires and parsed.expires <= datetime.now(UTC):
            raise KeyFileInvalid(f"--expires is {options.expires}, which is in the past")
    except ValueError as error:
        print(f"No key was made: {str(error).removeprefix('line 1: ')}.", file=sys.stderr)
        return 2
    print(f"{key}\n{line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
