"""Batch prediction keeps a few bytes of each image, and they equal what the predictor returns."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.batch_prediction import SAMPLE_SIZE, Predictions, predict_folder
from pipeline.evaluation.keras_agreement import batch_size, measure_agreement
from serving.artifact.manifest import FLOAT_GRAPH
from serving.errors import ImageError
from serving.model.predictor import Predictor
from tests.pipeline.projects import Project
from tests.serving.bundles import write_bundle

# More than the images whose probabilities are all kept, and the last block of a thread is not full.
IMAGES = 2 * SAMPLE_SIZE + 3
COLOURS = ((255, 90, 0), (90, 255, 0), (90, 90, 255))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The predictor of the tiny bundle, which classifies red, green and blue."""
    return Predictor.open(write_bundle(tmp_path_factory.mktemp("bundle") / "bundle", "tiny"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small images; a third of them are in the folder of another colour."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        path = folder / f"c{number % 3}" / f"{number:05d}.png"
        path.parent.mkdir(exist_ok=True)
        shown = (number + (number % 9 < 3)) % 3
        Image.new("RGB", (8, 8), COLOURS[shown]).save(path)
    return folder


@pytest.fixture(scope="module")
def answers(predictor: Predictor, images: Path) -> Predictions:
    """The predictions for all of them."""
    return predict_folder(predictor, images)


def test_what_is_kept_is_what_the_bundle_answers(
    predictor: Predictor, images: Path, answers: Predictions
) -> None:
    assert answers.files == sorted(images.rglob("*.png"))
    assert answers.class_count == 3
    assert round(answers.correct.mean(), 2) == 0.67
    for row in range(0, IMAGES, 97):
        said = predictor.classify(answers.files[row].read_bytes())
        order = list(np.argsort(-said, kind="stable"))
        assert answers.predicted[row] == order[0]
        assert answers.confidence[row] == said.max()
        assert answers.ranks[row] == order.index(answers.actual[row])


def test_few_answers_are_kept_whole_evenly_over_the_images(answers: Predictions) -> None:
    assert list(answers.sampled_probabilities) == list(range(0, IMAGES, 3))
    for row, probabilities in answers.sampled_probabilities.items():
        assert probabilities.shape == (3,)
        assert probabilities.argmax() == answers.predicted[row]


def test_of_each_image_a_few_bytes_are_kept(answers: Predictions) -> None:
    kept = (answers.actual, answers.predicted, answers.confidence, answers.ranks)
    assert sum(column.nbytes for column in kept) == 28 * IMAGES
    assert len(answers.sampled_probabilities) <= SAMPLE_SIZE


def test_a_file_that_is_no_image_stops_it(predictor: Predictor, images: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(images.rglob("*.png"))[:50]):
        (tmp_path / "c0").mkdir(exist_ok=True)
        os.link(path, tmp_path / f"c0/{number:02d}.png")
    (tmp_path / "c0/20.txt").write_text("no picture")
    with pytest.raises(ImageError):
        predict_folder(predictor, tmp_path)


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [(953, 224, 8), (330, 48, 165), (100, 48, 100), (3, 1000, 1), (1, 224, 1)],
)
def test_a_batch_is_bounded_in_pixels(images: int, size: int, expected: int) -> None:
    assert batch_size(images, size) == expected


def test_keras_agrees_also_in_a_last_batch_that_is_not_full(built: Project, tmp_path: Path) -> None:
    bundle = built.root / "models/tiny/bundle"
    floats = Predictor.open(bundle, graph=FLOAT_GRAPH)
    files = sorted(path for path in (built.root / "data/prepared/tiny/test").rglob("*") if path.is_file())
    total = 1 + batch_size(10**6, floats.preprocessing.size)
    for number in range(total):
        path = files[number % len(files)]
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        os.link(path, tmp_path / path.parent.name / f"{number:04d}{path.suffix}")
    agreed = measure_agreement(floats, bundle / "data/model.keras", predict_folder(floats, tmp_path))
    assert total % batch_size(total, floats.preprocessing.size) != 0
    assert (agreed.predict, agreed.eager) == (1.0, 1.0)
    assert 0 <= agreed.max_difference < 1e-4
