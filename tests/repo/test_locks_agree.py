"""The locks pin every package with its hashes, each a part of the next larger one."""

import re
from dataclasses import dataclass

import pytest

from tests.repo.imports import ROOT

EXTRAS = ("heic", "follow", "otel", "scoring", "ray")
LOCKS = {name: ROOT / f"requirements/{name}.txt" for name in ("serving", *EXTRAS, "pipeline", "dev")}
LOCKS["mlflow"] = ROOT / "deploy/mlflow/requirements.txt"
# name[extras]==version ; marker --hash=... --hash=...
REQUIREMENT = re.compile(
    r"([a-z0-9-]+(?:\[[a-z0-9,-]+\])?)==([^ ;]+)(?: ; ([\w .'!=<>()]+))?(?: --hash=sha256:[0-9a-f]{64})+"
)
# What only trains, tracks or tests.
OFFLINE = {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "mlflow-skinny", "dvc", "onnx", "pytest"}


@dataclass(frozen=True)
class Pin:
    """One package, perhaps with an extra: which version, under which circumstances (a PEP 508 marker)."""

    name: str
    version: str
    marker: str


def lines(lock: str) -> list[str]:
    """The requirements of a lock, each joined to one line; comments dropped."""
    text = LOCKS[lock].read_text(encoding="utf-8")
    joined = re.sub(r" \\\n +", " ", text)
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def pins(lock: str) -> set[Pin]:
    """What a lock pins."""
    found = [REQUIREMENT.fullmatch(line) for line in lines(lock)]
    return {Pin(match[1], match[2], match[3] or "") for match in found if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_pinned_with_hashes(lock: str) -> None:
    # So nothing else can stand there: no index, no address, no option.
    assert [line for line in lines(lock) if not REQUIREMENT.fullmatch(line)] == []
    assert len(lines(lock)) == len(pins(lock)) > 0


@pytest.mark.parametrize("lock", LOCKS)
def test_no_addresses(lock: str) -> None:
    assert "://" not in LOCKS[lock].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        *(("serving", extra) for extra in EXTRAS),
        ("scoring", "ray"),
        ("serving", "pipeline"),
        ("pipeline", "dev"),
    ],
)
def test_smaller_lock_is_part_of_the_larger(smaller: str, larger: str) -> None:
    assert pins(smaller) - pins(larger) == set()


@pytest.mark.parametrize("lock", ["mlflow", *EXTRAS])
def test_what_runs_in_an_image_is_what_was_tested(lock: str) -> None:
    # Not the markers: without the packages beside it, some are wanted under fewer circumstances.
    tested = {(pin.name, pin.version) for pin in pins("dev")}
    assert {(pin.name, pin.version) for pin in pins(lock)} - tested == set()


def test_server_gets_nothing_of_the_offline_half() -> None:
    assert not {pin.name for pin in pins("serving")} & OFFLINE
