"""What is recorded of each test image's confidence, and the figures that follow from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.batch_prediction import predict_folder
from pipeline.evaluation.confidence_record import ConfidenceRecord
from serving.artifact.confidence import Confidence
from serving.model.predictor import Predictor
from tests.pipeline.evaluation.confident_bundle import make_confidence, write_confident_bundle
from tests.serving.bundles import expected_probabilities, one_colour_png

# Probabilities, energy and actual class of an image.
Row = tuple[list[float], float | None, int | None]

# Red, a red that is nearly green, and a green in the folder of red.
SURE, UNSURE, WRONG = (255, 0, 0), (250, 230, 0), (0, 255, 0)


def write_images(folder: Path, *colours: tuple[int, int, int], label: str = "c0") -> Path:
    """Images of one colour each, in the folder of a class."""
    for number, colour in enumerate(colours):
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one_colour_png(colour))
    return folder


def record(confidence: Confidence, rows: list[Row]) -> ConfidenceRecord:
    """The record of these images."""
    found = ConfidenceRecord.empty(confidence, len(rows))
    assert found is not None
    for number, (probabilities, energy, actual) in enumerate(rows):
        found.add(number, np.array(probabilities, np.float32), energy, actual)
    return found


def figures(found: ConfidenceRecord) -> dict[str, Any]:
    images = len(found.energies)
    return found.to_metrics(np.full(images, 0.9, np.float32), np.ones(images, np.bool_), None)


def test_sets_of_each_image_by_hand() -> None:
    """With quantiles of 0.3 and 0.9 a set has the classes with at least 70 % and 10 %, and the best one."""
    found = record(
        make_confidence(),
        [([0.8, 0.15, 0.05], 4.0, 0), ([0.5, 0.3, 0.2], 4.0, 1), ([0.75, 0.2, 0.05], 4.0, 2)],
    )
    assert found.sizes.tolist() == [[1, 2], [1, 3], [1, 2]]
    assert found.covered.tolist() == [[True, True], [False, True], [False, False]]
    # The best class of an image may be below the threshold, and is in the set all the same.
    uncertain = record(make_confidence(), [([0.6, 0.3, 0.1], 4.0, 0)])
    assert uncertain.covered.tolist() == [[True, True]]
    assert uncertain.conforming.tolist() == [[False, True]]
    ninety, ninety_five = figures(found)["label_sets"]
    assert (ninety["level"], ninety["coverage"], ninety["mean_size"]) == (0.9, 0.33333, 1.0)
    assert (ninety_five["level"], ninety_five["coverage"]) == (0.95, 0.66667)
    assert ninety_five["mean_size"] == pytest.approx(7 / 3, abs=1e-5)
    assert ninety_five["coverage_interval"] == [0.20766, 0.93851]
    assert (ninety["above_threshold"], ninety_five["above_threshold"]) == (0.33333, 0.66667)
    assert ninety["band"][0] < 0.9 < ninety["band"][1]


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_probabilities_without_the_temperature_are_those_of_the_logits(temperature: float) -> None:
    logits = np.array([3.0, 1.0, -2.0])
    powers = np.exp(logits / temperature)
    found = record(make_confidence(temperature), [(list(powers / powers.sum()), 4.0, 0)])
    assert found.uncalibrated[0] == pytest.approx(np.exp(3) / np.exp(logits).sum(), abs=1e-6)


def test_an_image_of_a_class_that_the_model_does_not_have_is_never_covered() -> None:
    found = record(make_confidence(quantiles=(0.9, 1.0)), [([0.4, 0.3, 0.3], 4.0, None)])
    assert found.sizes.tolist() == [[3, 3]]
    assert found.covered.tolist() == [[False, False]]


def test_sets_without_a_guarantee_are_left_out() -> None:
    found = record(make_confidence(quantiles=(0.3, None)), [([0.8, 0.1, 0.1], 4.0, 0)])
    assert [entry["level"] for entry in figures(found)["label_sets"]] == [0.9]
    none = record(make_confidence(quantiles=(None, None)), [([0.8, 0.1, 0.1], 4.0, 0)])
    assert figures(none)["label_sets"] == []


def test_a_model_without_softmax_has_no_energy() -> None:
    found = record(make_confidence(threshold=None), [([0.8, 0.1, 0.1], None, 0)])
    assert "familiar" not in figures(found)
    assert figures(found)["label_sets"]


def test_few_validation_images_give_an_energy_without_a_threshold() -> None:
    found = record(make_confidence(None, threshold=None), [([0.8, 0.1, 0.1], 4.0, 0)])
    assert figures(found)["familiar"] == {"threshold": None, "unfamiliar_share": None}
    assert figures(found)["temperature"] is None


def test_the_share_of_unfamiliar_test_images() -> None:
    found = record(make_confidence(), [([0.8, 0.1, 0.1], energy, 0) for energy in (2.9, 3.0, 3.1, 5.0)])
    assert figures(found)["familiar"] == {"threshold": 3.0, "unfamiliar_share": 0.25}


def test_a_bundle_without_confidence_has_no_record() -> None:
    assert ConfidenceRecord.empty(None, 5) is None


def test_it_is_filled_with_what_the_bundle_predicts(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "test", SURE, UNSURE, WRONG)
    predictor = Predictor.open(write_confident_bundle(tmp_path / "bundle", make_confidence()))
    predictions = predict_folder(predictor, folder)
    found = predictions.confidence_record
    assert found is not None
    assert found.covered[:, 1].tolist() == [True, True, False]
    assert found.sizes[:, 1].tolist() == [1, 2, 1]
    expected = [float(expected_probabilities(colour).max()) for colour in (SURE, UNSURE, WRONG)]
    assert found.uncalibrated == pytest.approx(expected, abs=1e-5)
    sure, unsure, wrong = found.energies
    assert sure == wrong == pytest.approx(np.log(np.exp(4) + 2), abs=1e-5)
    logits = 4 / 255 * np.array([250, 230, 0])
    assert unsure == pytest.approx(np.log(np.exp(logits).sum()), abs=1e-5)
    metrics = found.to_metrics(predictions.confidence, predictions.correct, None)
    assert metrics["calibration_error"] == metrics["uncalibrated_error"], "the temperature is 1"
    assert metrics["familiar"]["unfamiliar_share"] == 0


def test_images_of_unknown_classes_are_wrong(tmp_path: Path) -> None:
    folder = write_images(write_images(tmp_path / "test", SURE), SURE, label="unicorn")
    predictor = Predictor.open(write_confident_bundle(tmp_path / "bundle", make_confidence()))
    predictions = predict_folder(predictor, folder, strict=False)
    assert predictions.confidence_record is not None
    assert predictions.confidence_record.covered.tolist() == [[True, True], [False, False]]
