"""Keeps `make run` from replacing the committed pin only because this machine builds other bytes.

The same code, params and data should give the pinned digest (pipeline/network/reproducible.py). On a machine
where they do not, the pin stays, and the differences are printed.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.errors import FileDamaged
from pipeline.layout import Layout
from pipeline.project.committed_files import differences_from_commit
from pipeline.project.rebuilding import bundle_differences
from pipeline.report import git_history
from pipeline.report.differences import PairedPredictions, pair_predictions
from pipeline.report.lock_changes import LOCK, has_committed_inputs
from pipeline.report.results import files_at, read_results, workspace_file
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import PinInvalid

# The stages whose outputs the bundle consists of; `evaluate` and `register` do not change its bytes.
BUNDLE_STAGES = ("prepare", "build", "export")


def differs_by_machine(layout: Layout, digest: str) -> bool:
    """Whether the last commit built and pinned another digest from the same inputs.

    False if the pin was changed since the commit: that was a decision.
    """
    pinned = git_history.read_file("HEAD", layout.pin)
    if pinned is None or workspace_file(layout.pin) != pinned:
        return False
    with suppress(PinInvalid, FileDamaged):
        pin, results = Pin.parse(pinned, layout.pin), read_results(files_at("HEAD"), layout)
        if results is not None and pin.digest == results.metrics.digest != digest:
            return has_committed_inputs(layout.model, BUNDLE_STAGES)
    return False


def describe_machine_difference(layout: Layout, digest: str) -> Iterator[str]:
    """What differs and by how much, whether both models are equally good, and what to do."""
    pin = Pin.read(layout.pin)
    yield (
        f"{layout.pin} stays as it is: the committed code, params and data gave another digest on this "
        f"machine, {digest[:12]} instead of {pin.digest[:12]}."
    )
    if paired := _pair_with_commit(layout):
        yield describe_accuracy(paired)
    bundle = Bundle.open(layout.bundle)
    left = [str(path) for path in (LOCK, layout.reports)]
    for difference in (*bundle_differences(layout, bundle), *differences_from_commit(Path(), *left)):
        yield f"  differs  {difference}"
    yield f"`python -m pipeline promote {layout.model}` pins this one instead."
    yield f"Otherwise do not commit {' and '.join(left)}, which describe it:"
    yield f"`git checkout -- {' '.join(left)}` restores the committed files, and the next run builds again."


def describe_accuracy(paired: PairedPredictions) -> str:
    """Whether the accuracies on the same images agree, by McNemar's exact test (two-sided, 5 %)."""
    lost, gained, images = paired.counts
    found = (
        f"On the same {images} test images {lost} are wrong only here and {gained} only with the pinned one"
    )
    if paired.significant:
        return f"{found} (p = {paired.p_value:.2g}): the two DIFFER by more than chance; find out why first."
    return f"{found} (p = {paired.p_value:.2g}): both are equally good, as far as these images can tell."


def _pair_with_commit(layout: Layout) -> PairedPredictions | None:
    with suppress(FileDamaged):
        before, now = read_results(files_at("HEAD"), layout), read_results(workspace_file, layout)
        if before and now:
            paired = pair_predictions(before.predictions, now.predictions)
            return paired if paired.images else None
    return None
