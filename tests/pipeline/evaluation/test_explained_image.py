"""`python -m pipeline explain`: the picture, the values, and errors that say what to choose."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from tests.pipeline.projects import Project
from tests.serving.bundles import write_bundle
from tests.serving.images import halves


@pytest.fixture
def image(project: Project) -> str:
    """An image beside a bundle of `tiny`."""
    write_bundle(project.root / "models/tiny/bundle", "tiny")
    Path("halves.png").write_bytes(halves())
    return "halves.png"


def test_picture_and_values(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tiny", image, "--class", "c2"]) == 0
    first, *rows, last = capsys.readouterr().out.splitlines()
    assert first.split()[1] == "blue"
    values = np.array([row.split() for row in rows], float)
    assert values.shape == (8, 8)
    assert values[:, 5:].min() > values[:, :3].max()
    assert last == "heatmap.png: the mean of these values plus 0.000 is the logit"
    assert Image.open(io.BytesIO(Path("heatmap.png").read_bytes())).size == (448, 448)


def test_occlusion_and_another_file(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tiny", image, "--method", "occlusion", "--output", "a b.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("a b.png: what the logarithm")
    assert Path("a b.png").exists()
    assert not Path("heatmap.png").exists()


def test_an_unknown_class_is_named(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tiny", image, "--class", "bleu"]) == 1
    error = capsys.readouterr().err
    assert "no class 'bleu'" in error
    assert "for instance blue" in error


def test_a_method_that_the_network_does_not_allow(
    project: Project, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(project.root / "models/plain", "tiny", trusted=False)
    (project.root / "models/tiny/bundle").rename(project.root / "models/old")
    (project.root / "models/plain").rename(project.root / "models/tiny/bundle")
    assert main(["explain", "tiny", image, "--method", "cam"]) == 1
    assert "leave --method out, or choose occlusion" in capsys.readouterr().err


def test_what_is_no_image(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(image).write_bytes(b"no image")
    assert main(["explain", "tiny", image]) == 1
    assert "error: " in capsys.readouterr().err
    assert not Path("heatmap.png").exists()
