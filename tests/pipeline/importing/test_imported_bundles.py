"""A model file goes through all stages, with labelled photos, with photos without labels, and with none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import params
from pipeline.errors import (
    DataRefused,
    DeclarationImpossible,
    GateRefused,
    ImportUndeclared,
    SourceUnavailable,
    UserFileMissing,
)
from pipeline.layout import Layout
from pipeline.network.backend import keras
from pipeline.project.starter_params import add_to_params
from pipeline.registry.mlflow_registry import Registry
from pipeline.report.command import write_report
from pipeline.stages import build, evaluate, export, prepare, register
from serving.artifact.bundle import Bundle
from serving.model.decoder import decode
from serving.model.predictor import Predictor
from tests.pipeline.importing import brought_models
from tests.pipeline.importing.brought_models import COLOURS, write_photos
from tests.pipeline.projects import Project

MODEL = "mine"
LAYOUT = Layout(MODEL)
DECLARED = {
    "method": "import",
    "model": "my_model.keras",
    "labels": "labels.txt",
    "size": [48, 48],
    "resize": "crop",
    "crop": 0.875,
    "filter": "bicubic",
    "antialias": True,
    "channels": "RGB",
    "scale": [-1, 1],
    "head": "softmax",
}
EVALUATE = {
    "min_top1": 0.9,
    "min_top5": 0.9,
    "min_recall": 0.9,
    "min_over_majority": 0.2,
    "min_agreement": 1.0,
    "max_quantisation_loss": 0.005,
    "max_latency_ms": 10000,
    "significance": 0.05,
}


def bring(photos: bool, network: keras.Model | None = None, **declared: object) -> None:
    """Puts a model into the project: its file, labels, photos, and its section in params.yaml."""
    LAYOUT.raw.mkdir(parents=True)
    if "model" not in declared:
        network = network or brought_models.without_preprocessing(1 / 127.5, -1.0)
        network.save(LAYOUT.raw / "my_model.keras")
    (LAYOUT.raw / "labels.txt").write_text("\n".join(COLOURS))
    if photos:
        write_photos(LAYOUT.raw, COLOURS, 10)
    section = {
        "prepare": {
            "split": "auto", "stratify": True, "valid": 0.2, "test": 0.8, "min_per_class": 1, "convert": []
        },
        "build": DECLARED | declared,
        "export": {"golden": 2, "precision": "float32", "calibration": 16},
        "evaluate": EVALUATE,
        "register": {"description": "A model that was brought."},
    }  # fmt: skip
    # JSON is YAML.
    params.PARAMS_FILE.write_text(json.dumps({"models": [MODEL], MODEL: section}))


def run_stages() -> dict[str, Any]:
    """All stages but `register`; returns metrics.json."""
    for stage in (prepare, build, export, evaluate):
        stage.main(MODEL)
    metrics: dict[str, Any] = json.loads(LAYOUT.metrics.read_bytes())
    return metrics


def test_with_labelled_photos(project: Project) -> None:
    bring(photos=True)
    metrics = run_stages()
    assert metrics["gate"]["passed"], metrics["gate"]
    assert (metrics["top1"], metrics["agreement"]["original"]) == (1.0, 1.0)
    assert metrics["images"] > 30
    record = metrics["import"]
    assert record["source"]["sha256"]
    assert record["conversion"]["generated"] is False
    declared = next(row for row in record["alternatives"]["trials"] if row["declared"])
    assert (declared["photos"], declared["correct"]) == (50, 50)
    card = (LAYOUT.reports / "README.md").read_text()
    assert "| `[-1.0, 1.0]` **declared** |" in card
    assert "my_model.keras" in card

    # The Keras form in the bundle, for MLflow, answers what the served graph answers.
    predictor = Predictor.open(LAYOUT.bundle)
    network = keras.saving.load_model(LAYOUT.bundle / "data/model.keras", compile=False)
    photo = next(LAYOUT.test.rglob("*.png"))
    pixels = decode(photo.read_bytes(), predictor.preprocessing)[np.newaxis]
    np.testing.assert_allclose(network.predict(pixels, verbose=0), predictor.predict(pixels), atol=1e-5)

    # The same files give the same digest, and a change of the model file another one of the data.
    digest, data = metrics["digest"], json.loads(LAYOUT.data_report.read_bytes())["digest"]
    build.main(MODEL)
    export.main(MODEL)
    assert Bundle.open(LAYOUT.bundle).digest == digest
    brought_models.without_preprocessing(1 / 255, 0.0).save(LAYOUT.raw / "my_model.keras")
    prepare.main(MODEL)
    assert json.loads(LAYOUT.data_report.read_bytes())["digest"] != data


def test_the_card_says_what_the_layers_in_the_file_cost(project: Project) -> None:
    """A tutorial's model with the wrong scale inside comes in by another declaration."""
    bring(photos=True, network=brought_models.wrong_scale_inside())
    metrics = run_stages()
    assert metrics["gate"]["passed"], metrics["gate"]
    rows = metrics["import"]["alternatives"]["trials"]
    (in_file,) = [row for row in rows if row["in_file"]]
    assert (in_file["scale"], in_file["filter"], in_file["resize"]) == ("inside", "lanczos", "squash")
    assert in_file["photos"] == 50
    assert in_file["top1"] < 0.8
    assert "`inside` **as in the file** |" in (LAYOUT.reports / "README.md").read_text()


@pytest.mark.parametrize(
    ("declared", "named"),
    [({"scale": [0, 1]}, "build.scale: [-1.0, 1.0]"), ({"channels": "BGR"}, "build.channels: RGB")],
)
def test_a_declaration_that_is_clearly_beaten_is_refused(
    project: Project, registry: Registry, declared: dict[str, object], named: str
) -> None:
    bring(photos=True, **declared)
    metrics = run_stages()
    check = metrics["gate"]["checks"]["preprocessing"]
    assert not check["passed"]
    assert named in check["reason"]
    with pytest.raises(GateRefused, match="preprocessing"):
        register.main(MODEL)


def test_labels_in_another_order_are_refused(project: Project) -> None:
    bring(photos=True)
    (LAYOUT.raw / "labels.txt").write_text("white\nred\ngrey\nblue\nblack\n")
    check = run_stages()["gate"]["checks"]["labels"]
    assert not check["passed"]
    assert "(sorted as text)" in check["reason"]


@pytest.mark.parametrize("loose_photos", [True, False], ids=["photos without labels", "no photos"])
def test_without_labelled_photos(
    project: Project, registry: Registry, loose_photos: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gets through, and wherever a figure would stand it says "not evaluated"."""
    bring(photos=False)
    if loose_photos:
        folders = write_photos(project.root / "elsewhere", COLOURS, 2)
        for path in folders.rglob("*.png"):
            shutil.copyfile(path, LAYOUT.raw / f"{path.parent.name}{path.name}")
    metrics = run_stages()
    assert metrics["gate"]["passed"], metrics["gate"]
    assert (metrics["evaluated"], metrics["images"]) == (False, 0)
    assert "top1" not in metrics
    conversion = metrics["import"]["conversion"]
    assert (conversion["generated"], conversion["same_top1"]) == (not loose_photos, 1.0)
    assert len(Bundle.open(LAYOUT.bundle).golden_images()) == 2
    card = (LAYOUT.reports / "README.md").read_text()
    assert "**Not evaluated:**" in card
    assert "top-1" not in card

    register.main(MODEL)
    version = registry.get_by_number(MODEL, 1)
    stored = registry.client.get_model_version(version.name, str(version.number))
    assert stored.tags["evaluated"] == "false"
    project.commit()
    write_report()
    report = Path("report.md").read_text()
    assert "mine: passed.** not evaluated" in report
    assert "Not evaluated: there are no labelled photos" in report
    assert "not evaluated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "save", "declared"),
    [
        ("torch.onnx", brought_models.save_onnx, {"scale": [0, 1], "head": "logits"}),
        ("saved_model", brought_models.save_saved_model, {}),
        ("own_layer.keras", brought_models.save_with_own_layer, {"code": "layers.py"}),
    ],
)
def test_models_that_keras_cannot_load_by_itself(
    project: Project, name: str, save: Callable[[Path], None], declared: dict[str, object]
) -> None:
    """They are served like all others; the bundle has no Keras model, and MLflow no `keras` flavour."""
    bring(photos=True, **declared, model=name)
    save(LAYOUT.raw / name)
    metrics = run_stages()
    assert metrics["gate"]["passed"], metrics["gate"]
    assert (metrics["top1"], metrics["agreement"]) == (1.0, {"original": 1.0})
    assert metrics["classes"] == 5
    bundle = Bundle.open(LAYOUT.bundle)
    assert "data/model.keras" not in bundle.manifest.files
    flavours = (LAYOUT.bundle / "MLmodel").read_text()
    assert "python_function" in flavours
    assert "keras" not in flavours


def test_a_photo_that_only_antialiasing_can_serve(project: Project) -> None:
    """A JPEG of 27 megapixels: without antialiasing the server refuses it, so it cannot be a test photo."""
    bring(photos=True, antialias=False, filter="bilinear")
    Image.new("RGB", (6000, 4500), COLOURS["red"]).save(LAYOUT.raw / "red/large.jpg", quality=50)
    prepare.main(MODEL)
    with pytest.raises(DataRefused, match=r"6000 x 4500 pixels; without build\.antialias"):
        build.main(MODEL)
    document = json.loads(params.PARAMS_FILE.read_text())
    document[MODEL]["build"]["antialias"] = True
    params.PARAMS_FILE.write_text(json.dumps(document))
    metrics = run_stages()
    # Ways without antialiasing have this photo wrong, as the server would.
    rows = metrics["import"]["alternatives"]["trials"]
    assert all(row["correct"] < row["photos"] for row in rows if not row["antialias"])
    assert next(row for row in rows if row["declared"])["correct"] == 51


def test_declarations_that_contradict_the_file(project: Project) -> None:
    bring(photos=False, size=[32, 48])
    prepare.main(MODEL)
    with pytest.raises(DeclarationImpossible, match="48 x 48"):
        build.main(MODEL)
    for wrong, found in (
        ({"channels": "grey"}, "3 channels"),
        ({"head": "sigmoid"}, "softmax"),
        ({"head": "logits"}, "build.head to softmax"),
        ({"scale": "inside"}, "no layer at its start"),
    ):
        document = json.loads(params.PARAMS_FILE.read_text())
        document[MODEL]["build"] = DECLARED | wrong
        params.PARAMS_FILE.write_text(json.dumps(document))
        with pytest.raises(DeclarationImpossible, match=found):
            build.main(MODEL)
    assert not LAYOUT.built.exists()


def test_files_that_are_not_there(project: Project) -> None:
    bring(photos=False, labels="other.txt")
    prepare.main(MODEL)
    with pytest.raises(UserFileMissing, match=r"other\.txt.*labels\.txt, my_model\.keras"):
        build.main(MODEL)


def test_a_model_without_a_section_is_told_to_inspect(project: Project) -> None:
    write_photos(LAYOUT.raw, COLOURS, 1)
    brought_models.tutorial_classifier().save(LAYOUT.raw / "my_model.keras")
    with pytest.raises(
        ImportUndeclared, match=r"inspect data/raw/mine/my_model.keras --photos data/raw/mine"
    ):
        add_to_params(MODEL)


def test_imagenet_names_need_no_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`labels: imagenet` reads Keras's names; here they are not to be had, and the error says where from."""
    bring(photos=False, labels="imagenet")
    prepare.main(MODEL)
    monkeypatch.setenv("KERAS_HOME", str(project.root / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable, match="imagenet_class_index"):
        build.main(MODEL)
