"""Runs two bundles on the same images, as a server that tries a candidate would."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from pipeline.comparison.photos import Photo
from pipeline.comparison.versions import Version
from pipeline.errors import LabelSetsDiffer
from serving.errors import ImageError, ImageTooLarge
from serving.model.decoder import MAX_BYTES, Pixels, decode
from serving.trial.comparison import Answer, AnswerPair, compare_answers
from serving.trial.counts import Counts
from serving.trial.decision import Decision, Rules, State, judge


@dataclass
class Measurement:
    """The answers of both bundles for the images, in order.

    `broken` are the images without a comparison and why, `failures` those on which the candidate failed.
    `decision` is the first final one and `decided_after` how many answers it took; without one, the last
    decision and `None`.
    """

    decision: Decision
    counts: Counts = field(default_factory=Counts)
    photos: list[Photo] = field(default_factory=list)
    pairs: list[AnswerPair] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    decided_after: int | None = None

    def add(self, photo: Photo, pair: AnswerPair, rules: Rules) -> None:
        """Counts a pair, and judges unless that is decided."""
        self.photos.append(photo)
        self.pairs.append(pair)
        self.counts += Counts.of(pair)
        if self.decided_after is None:
            self.decision = judge(self.counts, rules)
            if self.decision.state is not State.UNDECIDED:
                self.decided_after = self.counts.compared


def check_labels(first: Version, second: Version) -> None:
    """Raises `LabelSetsDiffer` unless both have the same labels, in any order."""
    one, other = set(first.labels), set(second.labels)
    if one != other:
        raise LabelSetsDiffer(f"A ({first})", f"B ({second})", sorted(one - other), sorted(other - one))


def measure(active: Version, candidate: Version, photos: Sequence[Photo], rules: Rules) -> Measurement:
    """Classifies every image with both bundles, one after the other on one thread.

    Images that cannot be read or decoded, and those for which the active bundle has no valid answer, are
    listed and stop nothing.
    """
    measured = Measurement(judge(Counts(), rules))
    warm = False
    for number, photo in enumerate(tqdm(photos, desc="compare", unit="image", disable=None)):
        try:
            pixels = _decode(photo, active, candidate)
        except (ImageError, OSError) as error:
            measured.broken.append((photo.name, str(error)))
            continue
        if not warm:
            _answer_both(active, candidate, pixels, first=0)
            warm = True
        # They take turns, because the second one finds the pixels in the processor's cache.
        expected, found, error_text = _answer_both(active, candidate, pixels, first=number % 2)
        reason = error_text or "its outputs are no probabilities"
        pair = compare_answers(expected, found, rules.max_slowdown)
        if pair is None:
            measured.broken.append((photo.name, f"A has no valid answer: {reason}"))
            continue
        if pair.failed:
            measured.failures.append((photo.name, reason))
        measured.add(photo, pair, rules)
    return measured


def _decode(photo: Photo, active: Version, candidate: Version) -> tuple[Pixels, Pixels]:
    """The pixels for each bundle; they are the same unless the bundles prepare images differently."""
    if not photo.path.is_file():
        raise OSError("It is no file but a link that leads nowhere, a pipe or a device.")
    if (size := photo.path.stat().st_size) > MAX_BYTES:
        raise ImageTooLarge(size, MAX_BYTES)
    data = photo.path.read_bytes()
    pixels = decode(data, active.predictor.preprocessing)
    if candidate.predictor.preprocessing == active.predictor.preprocessing:
        return pixels, pixels
    return pixels, decode(data, candidate.predictor.preprocessing)


def _answer_both(
    active: Version, candidate: Version, pixels: tuple[Pixels, Pixels], first: int
) -> tuple[Answer, Answer, str]:
    """The answers of both, and why one failed; `first` is the one that runs first, 0: the active one."""
    versions = (active, candidate)
    found = {number: _answer(versions[number], pixels[number]) for number in (first, 1 - first)}
    (active_answer, active_error), (candidate_answer, candidate_error) = found[0], found[1]
    return active_answer, candidate_answer, active_error or candidate_error


def _answer(version: Version, pixels: Pixels) -> tuple[Answer, str]:
    """A bundle's answer, and why it has none."""
    prediction, reason, begin = None, "", time.perf_counter()
    try:
        prediction = version.predictor.predict_one(pixels)
    except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors share no other base class)
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return Answer(prediction, version.labels, time.perf_counter() - begin), reason
