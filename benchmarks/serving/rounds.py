"""Rounds: every contender once in each, in an order that changes, so that no one has the quiet hour."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.documents import ROOT
from benchmarks.serving import environments
from benchmarks.serving.asking import Reference
from benchmarks.serving.contender import LIMIT, Contender
from benchmarks.serving.errors import ContenderFailed
from benchmarks.serving.figures import Row, summary
from benchmarks.serving.project import Project
from benchmarks.serving.visit import Visit, visit, visit_limit

SEED = 1
Item = TypeVar("Item")


def in_turn(items: Sequence[Item], rounds: int, name: Callable[[Item], str]) -> Iterator[tuple[int, Item]]:
    """Each item once in every round, with the round's number; says before each how far it is."""
    chance = random.Random(SEED)  # noqa: S311  (the same order every time)
    steps = [(number, item) for number in range(rounds) for item in chance.sample(items, len(items))]
    began = time.monotonic()
    for done, (number, item) in enumerate(steps):
        print(f"[{done + 1}/{len(steps)}] {name(item)}{_left(began, done, len(steps))}", flush=True)
        yield number, item


def _left(began: float, done: int, steps: int) -> str:
    """About how long the rest will take, once that can be told."""
    if not done:
        return ""
    minutes = (time.monotonic() - began) / done * (steps - done) / 60
    return f", about {minutes:.0f} min left of the rounds"


class Rounds:
    """Measures contenders, tells how far it is, and keeps what went wrong as the reason of a row."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        project: Project,
        reference: Reference,
        seconds: float,
        rounds: int,
    ) -> None:
        self.contenders, self.project, self.reference = contenders, project, reference
        self.seconds, self.rounds = seconds, rounds
        self.visits: dict[str, list[Visit]] = {contender.name: [] for contender in contenders}
        self.failed: dict[str, str] = {}

    def rows(self) -> list[Row]:
        """Runs all rounds; gives a row for each contender, in the order in which they were given."""
        self._install()
        for number, contender in in_turn(self.contenders, self.rounds, lambda contender: contender.name):
            if contender.name not in self.failed:
                self._measure(contender, number)
        return [self._row(contender) for contender in self.contenders]

    def tell(self, what: str) -> None:
        """A line of progress."""
        print(f"    {what}", flush=True)

    def _install(self) -> None:
        """Before the clock starts: this takes minutes, once."""
        for contender in self.contenders:
            if contender.peer:
                print(f"the environment of {contender.name} ...", flush=True)
                with self._noting(contender):
                    environments.programs(contender.peer)

    def _measure(self, contender: Contender, number: int) -> None:
        with self._noting(contender):
            if contender.kind == LIMIT:
                seen = visit_limit(contender, self.tell)
            else:
                photos = self.project.sent
                seen = visit(contender, photos, self.reference, self.seconds, number == 0, self.tell)
            self.visits[contender.name].append(seen)

    def _noting(self, contender: Contender) -> "_Noting":
        return _Noting(self, contender)

    def _row(self, contender: Contender) -> Row:
        row: Row = {
            "name": contender.name,
            "kind": contender.kind,
            "precision": contender.precision,
            "setup": contender.setup,
            "versions": environments.versions(contender.peer) if contender.peer else [],
        }
        if contender.name in self.failed:
            return row | {"failed": self.failed[contender.name]}
        return row | summary(self.visits[contender.name])


class _Noting:
    """Notes why a contender failed; the others go on."""

    def __init__(self, rounds: Rounds, contender: Contender) -> None:
        self.rounds, self.contender = rounds, contender

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> bool:
        if not isinstance(error, ContenderFailed):
            return False
        self.rounds.failed[self.contender.name] = impersonal(str(error))
        self.rounds.tell(f"failed: {error}")
        return True


def impersonal(reason: str) -> str:
    """A reason without what belongs to this machine: its folders, and the index that it installs from."""
    reason = reason.replace(str(ROOT), ".").replace(str(Path.home()), "~")
    return re.sub(r"https?://(?!127\.0\.0\.1)\S+", "<address>", reason)
