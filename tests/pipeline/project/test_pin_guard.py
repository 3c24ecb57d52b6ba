"""A machine that builds other bytes from the committed inputs does not replace the committed pin."""

import json
from collections.abc import Iterator

import pytest

from pipeline.layout import Layout
from pipeline.project.pin_guard import describe_accuracy, describe_machine_difference, differs_by_machine
from pipeline.report.differences import pair_predictions
from pipeline.report.results import Prediction
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.pipeline.projects import Project

LAYOUT = Layout("tiny")
OTHER = "0" * 64


@pytest.fixture
def elsewhere(inside_built: Project) -> Iterator[Project]:
    """The built project, whose last commit has what another machine made from the same inputs."""
    here = {path: path.read_bytes() for path in (LAYOUT.metrics, LAYOUT.pin)}
    before = inside_built.succeed("git", "rev-parse", "HEAD").strip()
    try:
        metrics = json.loads(here[LAYOUT.metrics])
        LAYOUT.metrics.write_text(json.dumps(metrics | {"digest": OTHER}))
        LAYOUT.pin.write_bytes(Pin("tiny", 1, OTHER).to_bytes())
        inside_built.commit("built on another machine")
        LAYOUT.metrics.write_bytes(here[LAYOUT.metrics])
        yield inside_built
    finally:
        inside_built.succeed("git", "reset", "-q", "--hard", before)


def digest() -> str:
    return Bundle.open(LAYOUT.bundle).digest


def test_the_committed_pin_stays(elsewhere: Project) -> None:
    done = elsewhere.pipeline("run", "tiny")
    assert done.returncode == 0, done.stderr
    for words in (
        "pins/tiny.json stays as it is",
        f"{digest()[:12]} instead of {OTHER[:12]}",
        "0 are wrong only here and 0 only with the pinned one (p = 1): both are equally good",
        f"differs  models/tiny/bundle: digest {digest()}; the pinned one is not here",
        f'differs  reports/tiny/metrics.json: digest is "{digest()[:50]}',
        "`python -m pipeline promote tiny` pins this one instead",
        "`git checkout -- dvc.lock reports/tiny` restores",
        f"{digest()} (pinned: {OTHER})",
    ):
        assert words in done.stdout
    assert elsewhere.changes() == " M reports/tiny/metrics.json\n"


def test_a_decision_is_not_questioned(elsewhere: Project) -> None:
    assert differs_by_machine(LAYOUT, digest())
    # The pinned bundle itself.
    assert not differs_by_machine(LAYOUT, OTHER)
    LAYOUT.pin.write_bytes(Pin("tiny", 2, digest()).to_bytes())
    assert not differs_by_machine(LAYOUT, digest())


@pytest.mark.parametrize("stage", ["prepare", "build", "export", "evaluate"])
def test_other_inputs_are_pinned_as_ever(elsewhere: Project, stage: str) -> None:
    lock = elsewhere.root / "dvc.lock"
    head, _, rest = lock.read_text().partition(f"  {stage}@tiny:")
    lock.write_text(f"{head}  {stage}@tiny:{rest.replace('cmd: python', 'cmd: python3', 1)}")
    # What `evaluate` does changes no byte of the bundle.
    assert differs_by_machine(LAYOUT, digest()) is (stage == "evaluate")


def test_a_commit_without_pin_or_reports_has_nothing_to_keep(project: Project) -> None:
    assert not differs_by_machine(LAYOUT, OTHER)


def predictions(wrong: set[int]) -> list[Prediction]:
    return [
        Prediction(image=f"{n}.png", actual="a", predicted="b" if n in wrong else "a", confidence=0.5)
        for n in range(50)
    ]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [({1}, {2, 3}, "both are equally good"), (set(), set(range(9)), "DIFFER by more")],
)
def test_accuracies_are_compared_image_by_image(before: set[int], now: set[int], said: str) -> None:
    described = describe_accuracy(pair_predictions(predictions(before), predictions(now)))
    assert described.startswith(f"On the same 50 test images {len(now - before)} are wrong only here and ")
    assert said in described


def test_the_description_needs_no_readable_reports(elsewhere: Project) -> None:
    (LAYOUT.reports / "predictions.csv").write_text("damaged")
    lines = list(describe_machine_difference(LAYOUT, digest()))
    assert not any("test images" in line for line in lines)
