"""The tutorial's model on real weights and real photos, and fine-tuning from them; from Keras's cache."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.evaluation.batch_prediction import predict_folder
from serving.artifact.manifest import FLOAT_GRAPH
from serving.model.predictor import Predictor
from tests.imagenet import GOLDFISH, LAYOUT, OFFLINE, needs_photos, needs_weights, predictions
from tests.pipeline.projects import Project, copy_of_the_working_tree
from tests.pipeline.sample_images import write_class_folders
from tests.serving.servers import running


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    """A copy of the project in which nothing is built."""
    return copy_of_the_working_tree(tmp_path / "project", OFFLINE)


@needs_weights
@needs_photos
def test_photos_of_a_thousand_classes_are_recognised(imagenet: Project) -> None:
    root = imagenet.root
    metrics = json.loads((root / LAYOUT.metrics).read_text())
    # The others calibrate 8 bits.
    assert metrics["classes"] == 1000
    assert metrics["images"] == sum(path.is_file() for path in (root / LAYOUT.test).rglob("*")) >= 930
    assert metrics["top1"] >= 0.88
    assert metrics["top5"] >= 0.97
    photo = next((root / LAYOUT.test / "n01443537").iterdir())
    assert (
        imagenet.pipeline("classify", "imagenet", str(photo)).stdout.splitlines()[0].split()[1] == "goldfish"
    )
    assert predictions(imagenet)[GOLDFISH]["predicted"] == "goldfish"
    # Two classes each are called crane and maillot; none of them is lost.
    labels = json.loads((root / LAYOUT.bundle / "serving/labels.json").read_text())
    assert len({label["name"] for label in labels}) == 1000
    assert sum(label["name"].startswith(("crane (", "maillot (")) for label in labels) == 4
    # The model was added to the list, and the comments of the file are still there.
    text = (root / "params.yaml").read_text()
    assert yaml.safe_load(text)["models"] == ["digits", "imagenet"]
    assert text.count("#") == (Path(__file__).parents[3] / "params.yaml").read_text().count("#")


@needs_weights
@needs_photos
def test_keras_float32_and_8_bits_agree_on_photos(imagenet: Project) -> None:
    root = imagenet.root
    metrics = json.loads((root / LAYOUT.metrics).read_text())
    # Keras `predict` and Keras called eagerly, against ONNX in float32.
    assert set(metrics["agreement"]) == {"keras_predict", "keras_eager"}
    assert min(metrics["agreement"].values()) >= 0.999
    assert metrics["precision"] == "int8"
    assert metrics["quantisation"]["top1_lost"] <= 0.005
    served = Predictor.open(root / LAYOUT.bundle)
    floats = Predictor.open(root / LAYOUT.bundle, graph=FLOAT_GRAPH)
    agreed = (
        predict_folder(served, root / LAYOUT.test).predicted
        == predict_folder(floats, root / LAYOUT.test).predicted
    )
    assert agreed.mean() >= 0.98


@needs_weights
@needs_photos
def test_what_was_measured_is_what_is_served_photo_by_photo(imagenet: Project) -> None:
    measured = predictions(imagenet)
    with running(imagenet.root, model="imagenet") as server:
        for image, row in measured.items():
            answer = server.post("/inference", data=(imagenet.root / LAYOUT.test / image).read_bytes()).json()
            assert len(answer) == 5
            label, confidence = next(iter(answer.items()))
            assert label == row["predicted"], image
            assert confidence == pytest.approx(float(row["confidence"]), abs=1e-4), image
        assert server.get("/model").json()["metrics"]["images"] == len(measured)


@needs_weights
def test_a_folder_of_photos_is_fine_tuned(copy: Project) -> None:
    write_class_folders(copy.root / "data/raw/colours", images=24, side=100)
    described = copy.pipeline("run", "colours", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "described colours" in described.stdout
    # The registry is down, but everything up to it was done, and is kept.
    assert described.returncode == 1
    assert "does not answer" in described.stderr
    done = copy.pipeline("run", "colours")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Stage 'evaluate@colours' didn't change" in done.stdout
    metrics = json.loads((copy.root / "reports/colours/metrics.json").read_text())
    assert metrics["classes"] == 3
    assert metrics["top1"] >= 0.9


def test_without_cache_and_network_the_error_tells_both_ways(copy: Project, tmp_path: Path) -> None:
    done = copy.pipeline("run", "imagenet", KERAS_HOME=str(tmp_path / "empty"))
    assert done.returncode == 1
    for words in ("tried: the Keras cache", "tried: downloading https://", "either:", "or:", "KERAS_HOME"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (copy.root / "models/imagenet").exists()


@pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="needs setpriv to give up root's rights over files"
)
def test_a_read_only_cache_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets/photos.zip").write_bytes(b"photos")
    cache.chmod(0o555)
    # Keras itself ignores a cache that it may not write to, and downloads into /tmp.
    script = "from pipeline.network.backend import keras; print(keras.utils.get_file(origin='http://127.0.0.1:9/photos.zip'))"
    mortal = (
        ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"]
        if os.geteuid() == 0
        else []
    )
    project = Project(tmp_path, {"KERAS_HOME": str(cache), "PYTHONPATH": str(Path(__file__).parents[3])})
    assert "photos.zip" in project.succeed(*mortal, "python", "-c", script)
