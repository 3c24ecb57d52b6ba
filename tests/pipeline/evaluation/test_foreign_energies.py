"""How the energy tells foreign images from test images: figures by group, unreadable files named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.foreign_energies import ForeignEnergies, familiar_metrics, predict_foreign
from pipeline.evaluation.foreign_images import ForeignImage, ForeignImages
from pipeline.layout import Layout
from pipeline.stages.evaluate import measure_foreign
from serving.model.predictor import Predictor
from tests.pipeline.evaluation.confident_bundle import make_confidence, write_confident_bundle
from tests.serving.bundles import one_colour_png
from tests.serving.images import encode_image

TEST = np.array([4.0, 4.5, 5.0, 5.5])


def foreign(**groups: list[float]) -> ForeignEnergies:
    names: list[str | None] = [name for name, energies in groups.items() for _ in energies]
    return ForeignEnergies("data/foreign/pets", names, np.concatenate([*groups.values()]), [])


def test_each_group_and_all() -> None:
    found = familiar_metrics(TEST, 4.2, foreign(cars=[1.0, 2.0], plants=[4.7, 9.0]))
    assert found["unfamiliar_share"] == 0.25
    groups, together = found["foreign"]["groups"], found["foreign"]["all"]
    assert list(groups) == ["cars", "plants"]
    cars, plants = groups["cars"], groups["plants"]
    assert (cars["images"], cars["auroc"], cars["unfamiliar_share"]) == (2, 1.0, 1.0)
    assert (plants["images"], plants["auroc"], plants["unfamiliar_share"]) == (2, 0.25, 0.0)
    assert (together["images"], together["auroc"], together["unfamiliar_share"]) == (4, 0.625, 0.5)
    low, high = plants["interval"]
    assert 0 < low < 0.25 < high < 1


def test_without_a_threshold_there_is_still_an_auroc() -> None:
    found = familiar_metrics(TEST, None, foreign(cars=[1.0]))
    assert found["threshold"] is found["unfamiliar_share"] is None
    assert found["foreign"]["all"]["auroc"] == 1
    assert found["foreign"]["all"]["unfamiliar_share"] is None


def test_without_foreign_images_nothing_is_said() -> None:
    assert familiar_metrics(TEST, 4.2, None) == {"threshold": 4.2, "unfamiliar_share": 0.25}


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    """A bundle with an energy: 4.04 for a pure colour, 1.10 for black."""
    return Predictor.open(write_confident_bundle(tmp_path / "bundle", make_confidence()))


def test_files_in_any_format_go_through_the_servers_decoder(predictor: Predictor, tmp_path: Path) -> None:
    black, images = Image.new("RGB", (12, 10)), []
    for kind in ("PNG", "JPEG", "WEBP", "AVIF"):
        path = tmp_path / f"black.{kind.lower()}"
        path.write_bytes(encode_image(black, kind))
        images.append(ForeignImage("black", path.name, path))
    images.append(ForeignImage(None, "red.png", one_colour_png((255, 0, 0))))
    found = predict_foreign(predictor, ForeignImages("somewhere", images))
    assert found.energies == pytest.approx([np.log(3)] * 4 + [np.log(np.exp(4) + 2)], abs=0.02)
    assert found.groups == ["black"] * 4 + [None]
    assert found.unreadable == []


def test_unreadable_files_are_counted_and_named(predictor: Predictor, tmp_path: Path) -> None:
    cut = one_colour_png((255, 0, 0))[:30]
    contents: list[bytes | Path] = [b"", b"no image", cut, tmp_path / "missing.png"]
    images = [ForeignImage("odd", f"odd/{number}", content) for number, content in enumerate(contents * 2)]
    images.append(ForeignImage("fine", "fine/a.png", one_colour_png((0, 0, 0))))
    figures = familiar_metrics(TEST, 4.2, predict_foreign(predictor, ForeignImages("somewhere", images)))
    assert figures["foreign"]["unreadable"] == {"files": 8, "first": [f"odd/{number}" for number in range(5)]}
    assert list(figures["foreign"]["groups"]) == ["fine"]
    assert figures["foreign"]["all"]["images"] == 1


@pytest.mark.parametrize("energy", [True, False])
def test_the_stage_measures_models_with_an_energy(
    energy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    confidence = make_confidence(threshold=3.0 if energy else None)
    predictor = Predictor.open(write_confident_bundle(tmp_path / "bundle", confidence, energy))
    layout = Layout("pets")
    assert measure_foreign(layout, predictor, None) is None
    (layout.foreign / "black").mkdir(parents=True)
    (layout.foreign / "black/0.png").write_bytes(one_colour_png((0, 0, 0)))
    found = measure_foreign(layout, predictor, None)
    assert (found is not None) is energy
    if found is not None:
        assert found.energies == pytest.approx([np.log(3)], abs=1e-6)


def test_only_unreadable_files_are_no_figure(predictor: Predictor) -> None:
    images = ForeignImages("somewhere", [ForeignImage(None, "a.txt", b"text")])
    figures = familiar_metrics(TEST, 4.2, predict_foreign(predictor, images))
    assert figures["foreign"]["all"] is None
    assert figures["foreign"]["groups"] == {}
