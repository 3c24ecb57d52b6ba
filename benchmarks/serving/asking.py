"""Asking a contender about photos one by one: is it there, and are its answers right?"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import requests

from benchmarks.serving.contender import Contender
from benchmarks.serving.errors import NotStarted
from benchmarks.serving.processes import Family
from benchmarks.serving.project import Photo, Served
from benchmarks.serving.wire import same
from serving.artifact.bundle import Label

# Ray needs half a minute on a busy machine.
START = 120.0
PAUSE = 0.02
# A server that hangs shall not hold up the others for long.
TIMEOUT = 10.0
ASKING = 4


@dataclass(frozen=True)
class Reference:
    """What a bundle says of the photos in this very process: the numbers of the classes that win."""

    labels: tuple[Label, ...]
    photos: tuple[Photo, ...]
    winners: tuple[int, ...]
    probe: Photo

    @classmethod
    def of(cls, served: Served, photos: Sequence[Photo]) -> "Reference":
        """The probe is the photo that it is surest of, and right."""
        with ThreadPoolExecutor(ASKING) as pool:
            rows = list(pool.map(lambda photo: served.predictor.classify(photo.path.read_bytes()), photos))
        winners = tuple(int(np.argmax(row)) for row in rows)
        sureness = [row[photo.actual] for row, photo in zip(rows, photos, strict=True)]
        return cls(served.predictor.labels, tuple(photos), winners, photos[int(np.argmax(sureness))])


@dataclass(frozen=True)
class Answers:
    """Of so many photos, how many answers came, were right, and were those of the reference."""

    asked: int
    answered: int
    right: int
    agree: int


def await_right(contender: Contender, url: str, family: Family, reference: Reference, began: float) -> float:
    """Asks until the first right answer, and gives the seconds since it began; or raises `NotStarted`."""
    body, label = reference.probe.path.read_bytes(), reference.labels[reference.probe.actual]
    reason = "it does not listen"
    while time.monotonic() < began + START and not family.ended():
        winner = ask(contender, url, body)
        if winner is not None and same(winner, label):
            return time.monotonic() - began
        reason = f"it takes {label.name} for {winner}" if winner else family.last_words()
        time.sleep(PAUSE)
    ending = f"it ended: {family.last_words()}" if family.ended() else reason
    raise NotStarted(time.monotonic() - began, ending)


def ask(contender: Contender, url: str, photo: bytes) -> str | None:
    """The class that it puts first; None if there is no good answer."""
    wire = contender.wire
    try:
        answer = requests.post(
            url, data=wire.body(photo), headers={"Content-Type": wire.kind}, timeout=TIMEOUT
        )
        return wire.winner(answer.content) if answer.ok else None
    except (requests.RequestException, ValueError, LookupError, TypeError):
        return None


def ask_all(contender: Contender, url: str, reference: Reference) -> Answers:
    """Asks about every photo, a few at a time."""
    with ThreadPoolExecutor(ASKING) as pool:
        winners = list(pool.map(lambda photo: ask(contender, url, photo.path.read_bytes()), reference.photos))
    given = [
        (winner, reference.labels[photo.actual], reference.labels[best])
        for winner, photo, best in zip(winners, reference.photos, reference.winners, strict=True)
        if winner is not None
    ]
    return Answers(
        asked=len(winners),
        answered=len(given),
        right=sum(same(winner, actual) for winner, actual, _ in given),
        agree=sum(same(winner, best) for winner, _, best in given),
    )
