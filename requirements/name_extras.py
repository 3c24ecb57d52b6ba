"""Adds lines for extras to a lock: `python requirements/name_extras.py FILE...`, as `make lock` does.

uv writes a package that is wanted with an extra under its own name alone. With hashes, pip then refuses the
extra, because no line pins it.
"""

import re
import sys
from pathlib import Path

# The packages of the locks that another one wants with an extra.
EXTRAS = {"pydantic": "email"}


def main(files: list[str]) -> None:
    """Repeats the entry of each such package under the name with its extra."""
    for file in map(Path, files):
        text = file.read_text(encoding="utf-8")
        for package, extra in EXTRAS.items():
            entry = re.compile(rf"^{package}(==.*\n(?: {{4}}--hash=.*\n)+)", re.MULTILINE)
            named = f"{package}[{extra}]"
            if f"\n{named}==" not in text:
                text = entry.sub(lambda found, named=named: found[0] + named + found[1], text)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
