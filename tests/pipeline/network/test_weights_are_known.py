"""Weights and class names from Keras's cache are verified by SHA-256; unknown weights are reported."""

import hashlib
from pathlib import Path

import pytest

from pipeline.environment import Environment
from pipeline.errors import WeightsUnknown
from pipeline.network import imagenet
from tests.imagenet import HOME, needs_weights

NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_224.h5"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An empty Keras cache."""
    (tmp_path / "models").mkdir()
    return Environment(None, tmp_path, experiment=False)


def test_other_weights_are_refused(environment: Environment) -> None:
    path = environment.keras_home / "models" / NAME.format("1.0")
    path.write_bytes(b"other weights")
    with pytest.raises(WeightsUnknown) as caught:
        imagenet.fetch_weights(1.0, environment)
    for words in (
        str(path),
        *imagenet.KNOWN_WEIGHTS[1.0],
        hashlib.sha256(b"other weights").hexdigest(),
        "delete it",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.3, 1.4])
def test_weights_that_nobody_knows_are_said_to_be_so(
    environment: Environment, capsys: pytest.CaptureFixture[str], alpha: float
) -> None:
    path = environment.keras_home / "models" / NAME.format(alpha)
    path.write_bytes(b"some weights")
    found = hashlib.sha256(b"some weights").hexdigest()
    assert imagenet.fetch_weights(alpha, environment) == imagenet.WeightsFile(path.name, found, "")
    expected = (
        f"{path}: not verified, because the right SHA-256 for this width is not known; it has {found}\n"
    )
    assert capsys.readouterr().out == expected


def test_other_names_of_classes_are_refused(environment: Environment) -> None:
    path = environment.keras_home / "models/imagenet_class_index.json"
    path.write_text('{"0": ["n01440764", "goldfish"]}')
    with pytest.raises(WeightsUnknown, match=f"{path} is not what is published.*{imagenet.CLASSES_SHA256}"):
        imagenet.fetch_labels(environment)


@needs_weights
def test_the_cache_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    found = imagenet.fetch_weights(1.0, Environment(None, HOME, experiment=False))
    assert found.origin == imagenet.KNOWN_WEIGHTS[1.0][found.sha256]
    assert capsys.readouterr().out == ""
    assert len(imagenet.fetch_labels(Environment(None, HOME, experiment=False))) == 1000
