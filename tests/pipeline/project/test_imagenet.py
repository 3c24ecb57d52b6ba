"""The tutorial's model with real weights on real photos, and fine-tuning; both come from Keras's cache.

What takes minutes is slow: building the model (two minutes), fine-tuning it (one). Short tests of the same
networks, in this process, represent them.
"""

import json
import os
import shutil
from pathlib import Path
from textwrap import indent
from zipfile import ZipFile

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.special import softmax

from pipeline import params
from pipeline.environment import Environment
from pipeline.evaluation.batch_prediction import predict_folder
from pipeline.network import architectures
from pipeline.network.backend import keras
from pipeline.network.imagenet import fetch_labels as imagenet_labels
from pipeline.onnx import keras_to_onnx
from pipeline.onnx.calibrated_graph import LOGITS, with_logits
from pipeline.project.starter_params import STARTER_SECTION
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.explanation.explainer import Explainer
from serving.model.decoder import Preprocessing, decode
from serving.model.predictor import Predictor, create_session
from tests.imagenet import (
    GOLDFISH,
    LAYOUT,
    OFFLINE,
    PHOTOS,
    WEIGHTS,
    needs_photos,
    needs_weights,
    predictions,
)
from tests.pipeline.projects import ROOT, Project, copy_of_the_working_tree
from tests.pipeline.sample_images import write_class_folders
from tests.serving.servers import running


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    """A copy of the project in which nothing is built."""
    return copy_of_the_working_tree(tmp_path / "project", OFFLINE)


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """A few of ImageNet's photos by the id of their class, the goldfish among them."""
    with ZipFile(PHOTOS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".JPEG"))
        return {Path(name).name.partition("_")[0]: archive.read(name) for name in names[1::100]}


@needs_weights
@needs_photos
def test_published_weights_recognise_a_few_photos_in_keras_and_in_onnx(photos: dict[str, bytes]) -> None:
    settings = params.load(ROOT / "params.yaml").for_model("imagenet").build
    assert isinstance(settings, params.Pretrained)
    network = architectures.build_pretrained(settings, WEIGHTS)
    preprocessing = Preprocessing.square(settings.size, settings.crop)
    images = np.stack([decode(data, preprocessing) for data in photos.values()])
    expected = network.predict(images, verbose=0)
    session = create_session(keras_to_onnx.to_bytes(network), 1, False)
    np.testing.assert_allclose(session.run(None, {"image": images})[0], expected, atol=1e-4)
    labels = imagenet_labels(Environment.read())
    found = [labels[row.argmax()].id for row in expected]
    assert "n01443537" in found
    assert sum(one == other for one, other in zip(found, photos, strict=True)) >= len(photos) - 2


@needs_weights
def test_fine_tuning_starts_from_the_published_weights(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"models: [pets]\npets:\n{indent(STARTER_SECTION, '  ')}")
    settings = params.load(tmp_path / "params.yaml").for_model("pets").build
    assert isinstance(settings, params.Finetune)
    network = architectures.build_finetune(settings, 3, WEIGHTS)
    assert network.output_shape == (None, 3)
    published = keras.applications.MobileNetV2(weights="imagenet", alpha=settings.alpha).get_weights()
    begun = network.get_weights()
    assert len(begun) == len(published)
    for one, other in zip(begun[:-2], published[:-2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@needs_weights
@needs_photos
def test_photos_of_a_thousand_classes_are_recognised(imagenet: Project) -> None:
    root = imagenet.root
    metrics = json.loads((root / LAYOUT.metrics).read_text())
    # The other 236 validate.
    assert metrics["classes"] == 1000
    assert metrics["images"] == sum(path.is_file() for path in (root / LAYOUT.test).rglob("*")) == 764
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@needs_weights
@needs_photos
def test_maps_add_up_to_the_logits_and_follow_the_goldfish(
    imagenet: Project, photos: dict[str, bytes]
) -> None:
    bundle = Bundle.open(imagenet.root / LAYOUT.bundle)
    predictor = Predictor.from_bundle(bundle)
    explainer = Explainer(predictor)
    assert explainer.methods == ("cam", "occlusion")
    plain = create_session(with_logits(bundle.read(GRAPH)), 1, avoid_saturation=False)
    temperature = bundle.confidence().temperature.value  # type: ignore[union-attr]
    for golden in bundle.golden_images():
        pixels = decode(golden.data, predictor.preprocessing)
        found = [explainer.explain(pixels, number, 0.5) for number in range(1000)]
        assert found[0].values.shape == (7, 7)
        logits = np.array([each.values.mean(dtype=np.float64) + (each.bias or 0) for each in found])
        (expected,) = plain.run([LOGITS], {"image": pixels[np.newaxis]})[0]
        # The averages are rounded to 8 bits before the last layer.
        assert np.abs(logits - expected).max() < 0.01 * np.ptp(expected)
        probabilities = predictor.predict_one(pixels).probabilities
        assert softmax(logits / temperature) == pytest.approx(probabilities, abs=0.02)
    fish = Image.fromarray(decode(photos["n01443537"], predictor.preprocessing)).resize((112, 112))
    number = explainer.class_numbers["goldfish"]
    for left, top in ((0, 0), (112, 0), (0, 112), (112, 112)):
        canvas = Image.new("RGB", (224, 224), (90, 110, 100))
        canvas.paste(fish, (left, top))
        values = explainer.explain(np.asarray(canvas), number, 0.5).values
        row, column = np.unravel_index(values.argmax(), values.shape)
        # Of seven places, the fourth lies in both halves.
        assert int(row) in (range(3, 7) if top else range(4))
        assert int(column) in (range(3, 7) if left else range(4))
