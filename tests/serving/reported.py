"""Cases that the source does not answer yet, each with what comes instead. A mended one is deleted here."""

from collections.abc import Iterable
from typing import Any

import pytest

REPORTED: dict[str, str] = {}


def cases(names: Iterable[str]) -> list[Any]:
    """The names as parameters; those that are reported must fail."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=REPORTED[name]))
        if name in REPORTED
        else name
        for name in names
    ]
