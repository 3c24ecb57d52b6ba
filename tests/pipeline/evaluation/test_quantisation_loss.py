"""An 8-bit model is measured beside float32 on the test images, from params.yaml to the model card."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.onnx.calibrated_graph import calibrate
from pipeline.onnx.calibration_images import load_calibration_images
from pipeline.onnx.quantisation import quantise
from pipeline.project import run
from pipeline.stages import evaluate, export, register
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.model.preprocessing import Preprocessing
from tests.pipeline.projects import Project
from tests.pipeline.sample_images import draw_image

METRICS, BUNDLE = "reports/tiny/metrics.json", "models/tiny/bundle"


def metrics(project: Project) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((project.root / METRICS).read_text())
    return document


@pytest.fixture
def copy(built: Project, database: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A clone of the built project with data and models, as the current directory; a test may change it."""
    clone = built.clone(tmp_path / "project")
    monkeypatch.chdir(clone.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # Its registry is empty.
    (clone.root / "mlflow.db").write_bytes(database)
    for folder in ("data/prepared", "models"):
        shutil.copytree(built.root / folder, clone.root / folder, dirs_exist_ok=True)
    return clone


def set_params(project: Project, before: str, after: str) -> None:
    path = project.root / "params.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def test_both_graphs_are_measured_on_the_same_images(built: Project) -> None:
    found = metrics(built)
    loss, images = found["quantisation"], found["images"]
    assert found["precision"] == "int8"
    assert loss["top1_lost"] == pytest.approx((loss["lost"] - loss["gained"]) / images, abs=1e-5)
    assert found["float32"]["top1"] - found["top1"] == pytest.approx(loss["top1_lost"], abs=2e-5)
    assert loss["interval"][0] < loss["top1_lost"] < loss["interval"][1]
    assert found["gate"]["checks"]["quantisation"]["passed"]
    machine = json.loads((built.root / "reports/tiny/machine.json").read_text())
    assert machine["latency_float32"]["predict_ms_p50"] > 0


def test_people_see_it_too(built: Project) -> None:
    card, summary = (
        (built.root / "reports/tiny/README.md").read_text(),
        (built.root / "summary.txt").read_text(),
    )
    loss = metrics(built)["quantisation"]
    assert f"| top-1 lost to 8 bits: {loss['lost']} images lost, {loss['gained']} gained |" in card
    assert "| top-1 in float32 |" in card
    assert f"int8     {loss['lost']} images lost, {loss['gained']} gained against float32" in summary


def test_the_server_needs_the_served_graph_only(built: Project) -> None:
    files = Bundle.open(built.root / BUNDLE).manifest.files
    assert (files[GRAPH].role, files[FLOAT_GRAPH].role) == ("serving", "keras")
    assert files[GRAPH].size < files[FLOAT_GRAPH].size / 2


def test_test_images_do_not_calibrate(copy: Project) -> None:
    """Other test images do not change the 8-bit graph; another validation image does."""
    before = (copy.root / BUNDLE / GRAPH).read_bytes()
    prepared = copy.root / "data/prepared/tiny"
    replaced = min((prepared / "valid").rglob("*.*"))
    draw_image(replaced, replaced.parent.name, seed=4000)
    images = load_calibration_images(Path("data/prepared/tiny"), 16, Preprocessing.square(32, 1.0))
    quantised = quantise(export.float_graph(Layout("tiny")), images)
    for number, path in enumerate(sorted((prepared / "test").rglob("*.*"))):
        draw_image(path, path.parent.name, seed=4001 + number)
    export.main("tiny")
    assert (copy.root / BUNDLE / GRAPH).read_bytes() == calibrate(quantised, 1.0) != before


def test_without_images_to_calibrate_nothing_is_exported(copy: Project) -> None:
    before = Bundle.open(copy.root / BUNDLE).digest
    for split in ("train", "valid"):
        shutil.rmtree(copy.root / "data/prepared/tiny" / split)
    with pytest.raises(PipelineError, match=r"set export\.precision to float32"):
        export.main("tiny")
    assert Bundle.open(copy.root / BUNDLE).digest == before


def test_float32_has_nothing_of_8_bits(
    copy: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs the stages in this process: tests/pipeline/project shows that `build` does not run again."""

    def reproduce(last: str, model: str) -> None:
        assert last == "register"
        for stage in (export, evaluate, register):
            stage.main(model)

    floats = (copy.root / BUNDLE / FLOAT_GRAPH).read_bytes()
    set_params(copy, "precision: int8", "precision: float32")
    monkeypatch.setattr(run, "reproduce_model", reproduce)
    run.run("tiny")
    printed = capsys.readouterr().out
    assert "int8" not in printed.split("alias champion")[1]
    found = metrics(copy)
    assert found["precision"] == "float32"
    assert not found.keys() & {"float32", "quantisation"}
    assert "quantisation" not in found["gate"]["checks"]
    assert "8 bits" not in (copy.root / "reports/tiny/README.md").read_text()
    assert not (copy.root / BUNDLE / FLOAT_GRAPH).exists()
    # It is the graph that 8 bits are made from.
    assert (copy.root / BUNDLE / GRAPH).read_bytes() == floats
