"""Measures every contender once in each round.

The order changes with every round, so that load from other programs does not always fall on the same one.
"""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.command_line import print_progress
from benchmarks.documents import ROOT
from benchmarks.errors import ContenderFailed
from benchmarks.serving import environments
from benchmarks.serving.contenders import LIMIT, Contender
from benchmarks.serving.measurement import Measurement, measure_bare_limit, measure_server
from benchmarks.serving.project import Project
from benchmarks.serving.statistics import Row, summarise
from benchmarks.serving.verification import Reference

SEED = 1
Item = TypeVar("Item")


def shuffled_rounds(
    items: Sequence[Item], rounds: int, name: Callable[[Item], str]
) -> Iterator[tuple[int, Item]]:
    """Yields every item once in each round, with the round's index; prints progress before each."""
    rng = random.Random(SEED)  # noqa: S311  (the same order every time)
    steps = [(index, item) for index in range(rounds) for item in rng.sample(items, len(items))]
    started = time.monotonic()
    for done, (index, item) in enumerate(steps):
        remaining = ""
        if done:
            minutes = (time.monotonic() - started) / done * (len(steps) - done) / 60
            remaining = f", about {minutes:.0f} min left of the rounds"
        print(f"[{done + 1}/{len(steps)}] {name(item)}{remaining}", flush=True)
        yield index, item


def measure_contenders(
    contenders: Sequence[Contender], project: Project, reference: Reference, seconds: float, rounds: int
) -> list[Row]:
    """Runs all rounds; returns a row for each contender, in the given order.

    A contender that failed in one round is left out of the next ones.
    """
    measurements: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    failures: dict[str, str] = {}
    _install_environments(contenders, failures)
    for index, contender in shuffled_rounds(contenders, rounds, lambda contender: contender.name):
        if contender.name in failures:
            continue
        with _failure_recorded(contender, failures):
            if contender.kind == LIMIT:
                measured = measure_bare_limit(contender)
            else:
                # Accuracy does not vary between rounds.
                first = index == 0
                measured = measure_server(contender, project.load_photos, reference, seconds, accuracy=first)
            measurements[contender.name].append(measured)
    return [
        _description(contender)
        | (
            {"failed": failures[contender.name]}
            if contender.name in failures
            else summarise(measurements[contender.name])
        )
        for contender in contenders
    ]


def _install_environments(contenders: Sequence[Contender], failures: dict[str, str]) -> None:
    """Before the first round: it takes minutes, once."""
    for contender in contenders:
        if contender.venv:
            print(f"the environment of {contender.name} ...", flush=True)
            with _failure_recorded(contender, failures):
                environments.bin_folder(contender.venv)


@contextmanager
def _failure_recorded(contender: Contender, failures: dict[str, str]) -> Iterator[None]:
    """Records why a contender failed instead of raising, so that the others are measured."""
    try:
        yield
    except ContenderFailed as error:
        failures[contender.name] = redact(str(error))
        print_progress(f"failed: {error}")


def _description(contender: Contender) -> Row:
    return {
        "name": contender.name,
        "kind": contender.kind,
        "precision": contender.precision,
        "setup": contender.setup,
        "versions": environments.versions(contender.venv) if contender.venv else [],
    }


def redact(reason: str) -> str:
    """Removes what identifies this machine from an error: its folders, and addresses of package indexes."""
    reason = reason.replace(str(ROOT), ".").replace(str(Path.home()), "~")
    return re.sub(r"https?://(?!127\.0\.0\.1)\S+", "<address>", reason)
