"""`run` builds, registers, promotes and predicts; a second run changes nothing; its model loads anywhere."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.environment import Environment
from pipeline.layout import Layout
from pipeline.registry.mlflow_registry import Registry
from pipeline.stages import register
from serving.artifact.bundle import Bundle
from tests.pipeline.projects import Project
from tests.pipeline.sample_images import draw_image

STAGES = ["prepare", "build", "export", "evaluate", "register"]

LOAD = """
import sys
from pathlib import Path
import mlflow, numpy as np, pandas as pd
images = [path.read_bytes() for path in sorted(Path(sys.argv[1]).rglob("*")) if path.is_file()]
model = mlflow.pyfunc.load_model("models:/tiny@champion")
assert "project" not in model.loader_module
for asked in (pd.DataFrame({"image": images}), images):
    answers = model.predict(asked)
    assert len(answers) == len(images)
    assert all(set(best[0]) == {"label", "id", "score"} for best in answers)
network = mlflow.keras.load_model("models:/tiny@champion")
size = network.input_shape[1]
assert network(np.zeros((2, size, size, 3), np.uint8)).shape == (2, 3)
print("answers", [best[0]["label"] for best in answers])
"""


def digest(project: Project) -> str:
    return Bundle.open(project.root / "models/tiny/bundle").digest


def test_the_summary_says_what_there_is_now(built: Project) -> None:
    summary = (built.root / "summary.txt").read_text()
    metrics = json.loads((built.root / "reports/tiny/metrics.json").read_text())
    for words in (
        "tiny, version 1, alias champion",
        digest(built),
        f"{metrics['top1']:.1%} of {metrics['images']} held-out images",
        "ms for this image",
        "reports/tiny/README.md",
        "make mlflow",
        "make classify",
    ):
        assert words in summary


def test_everything_agrees_on_the_digest(built: Project) -> None:
    pin = json.loads((built.root / "pins/tiny.json").read_text())
    receipt = json.loads((built.root / "models/tiny/registered.json").read_text())
    metrics = json.loads((built.root / "reports/tiny/metrics.json").read_text())
    assert pin == {"name": "tiny", "version": 1, "digest": digest(built)}
    assert receipt == {"name": "tiny", "digest": digest(built)}
    assert metrics["digest"] == digest(built)


def test_a_second_run_changes_nothing(built: Project) -> None:
    done = built.pipeline("run", "tiny")
    assert done.returncode == 0
    assert "Running stage" not in done.stdout
    assert "version 1," in done.stdout
    assert built.changes() == ""
    assert built.repro() == []


def test_what_varies_is_in_neither_git_nor_lock(built: Project) -> None:
    machine = json.loads((built.root / "reports/tiny/machine.json").read_text())
    assert machine["latency"]["total_ms_p50"] > 0
    assert "machine.json" not in built.succeed("git", "ls-files")
    assert "machine.json" not in (built.root / "dvc.lock").read_text()


@pytest.fixture(scope="module")
def again(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clean clone of the built project, which is built again, on one core instead of all."""
    clone = built.clone(tmp_path_factory.mktemp("again") / "project")
    # The number of threads is fixed, so fewer cores only take longer.
    command = ["taskset", "-c", "0"] if sys.platform == "linux" else []
    clone.succeed(*command, sys.executable, "-m", "pipeline", "run", "tiny")
    return clone


# Slow: 30 s. tests/pipeline/registry/test_fetch.py builds the same bytes in a clean clone.
@pytest.mark.slow
def test_a_clean_clone_gives_the_same_bytes(built: Project, again: Project) -> None:
    assert digest(again) == digest(built)
    assert again.changes() == ""


# Slow: it trains again, 20 s. Other tests change a parameter of a late stage.
@pytest.mark.slow
def test_a_changed_photo_reruns_everything(again: Project) -> None:
    before = digest(again)
    train = again.root / "data/prepared/tiny/train/red"
    draw_image(again.root / "data/raw/tiny/red" / min(train.iterdir()).name, "red", seed=4711)
    assert again.repro() == [f"{stage}@tiny" for stage in STAGES]
    assert digest(again) != before


def test_a_parameter_reruns_its_stage_and_those_that_follow(built: Project) -> None:
    path = built.root / "params.yaml"
    try:
        # Tells what would run; in the experiment below it does.
        path.write_text(path.read_text().replace("A model for tests.", "Another."))
        assert built.repro("--dry") == ["register@tiny"]
        path.write_text(path.read_text().replace("min_top1: 0.0", "min_top1: 0.01"))
        assert built.repro("--dry") == ["evaluate@tiny", "register@tiny"]
    finally:
        built.succeed("git", "checkout", "-q", ".")
    assert built.repro() == []


def test_a_refused_photo_leaves_all_that_was_built(built: Project) -> None:
    bad = built.root / "data/raw/tiny/red/bad.jpg"
    before = digest(built)
    try:
        bad.write_text("no picture")
        done = built.pipeline("run", "tiny")
        assert done.returncode == 1
        assert "red/bad.jpg" in done.stderr
    finally:
        bad.unlink()
    Bundle.open(built.root / "models/tiny/bundle").verify()
    assert digest(built) == before
    assert (built.root / "data/prepared/tiny/report.json").exists()
    assert built.changes() == ""
    assert built.repro() == []


def test_the_champion_loads_from_another_directory(built: Project, tmp_path: Path) -> None:
    elsewhere = Project(tmp_path, {"MLFLOW_TRACKING_URI": f"sqlite:///{built.root / 'mlflow.db'}"})
    printed = elsewhere.succeed(sys.executable, "-c", LOAD, str(built.root / "data/prepared/tiny/test"))
    assert "answers" in printed


def test_the_stage_registers_nothing_inside_an_experiment(
    inside_built: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Layout("tiny").registration_record
    before = record.read_bytes()
    monkeypatch.setenv("DVC_EXP_NAME", "trial")
    monkeypatch.setenv("DVC_ROOT", str(inside_built.root))
    # A registry that it would fail to reach.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    register.main("tiny")
    assert "skipped inside `dvc exp run`" in capsys.readouterr().out
    assert record.read_bytes() == before


@pytest.mark.slow
def test_an_experiment_registers_nothing(built: Project) -> None:
    """Runs three stages by DVC in a copy, half a minute; the test above is of the stage alone."""
    printed = built.succeed(
        "dvc", "exp", "run", "--temp", "-n", "trial", "-S", "tiny.export.precision=float32"
    )
    ran = [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
    assert ran == ["export@tiny", "evaluate@tiny", "register@tiny"]
    assert "skipped inside `dvc exp run`" in printed
    # It runs in a copy of the project and uses the registry of the project itself.
    assert "NOT compared" not in printed
    assert "against the pinned" in printed
    registry = Registry.connect(Environment(f"sqlite:///{built.root / 'mlflow.db'}", built.root, False))
    assert [int(entry.version) for entry in registry.client.search_model_versions("name = 'tiny'")] == [1]


def test_metrics_and_plots_differ_without_data(built: Project, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone")
    path = clone.root / "reports/tiny/metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"top1": 0.123}))
    shown = json.loads(clone.succeed("dvc", "metrics", "diff", "--json").splitlines()[-1])
    assert shown["reports/tiny/metrics.json"]["top1"]["new"] == 0.123
    clone.succeed("dvc", "plots", "diff", "-o", "plots")
    page = (clone.root / "plots/index.html").read_text()
    for plot in ("confusion_csv", "reliability_csv", "training_train_accuracy_tsv"):
        assert f"reports_tiny_{plot}" in page


def test_the_lock_is_valid_yaml_with_every_stage(built: Project) -> None:
    stages = yaml.safe_load((built.root / "dvc.lock").read_text())["stages"]
    assert set(stages) == {f"{stage}@tiny" for stage in STAGES}
