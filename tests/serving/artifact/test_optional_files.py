"""Confidence and the last layer's weights: optional files of format 2, parsed strictly, absent as None."""

import io
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.confidence import LabelSet, Temperature
from serving.artifact.files import to_json
from serving.artifact.head import Head
from serving.artifact.manifest import CONFIDENCE, EXPLANATION, GRAPH, HEAD
from serving.errors import ContractBroken
from serving.model.predictor import Predictor, create_session
from tests.serving.bundles import (
    COLOURS,
    explanation,
    head_kernel,
    one_colour_png,
    onnx_graph,
    write_bundle,
    write_files,
    write_manifest,
)

HISTOGRAM = {"edges": [0.0, 0.5, 1.0], "counts": [2, 8], "images": 10}
WHOLE: dict[str, Any] = {
    "temperature": {"value": 1.25, "images": 500},
    "label_sets": [
        {"level": 0.9, "quantile": 0.62, "images": 500},
        {"level": 0.95, "quantile": None, "images": 12},
    ],
    "energy": {"threshold": -3.5, "share": 0.05, "clip": 1.5, "images": 500},
    "reference": {
        "classes": [3, 0, 7],
        "confidence": HISTOGRAM,
        "energy": {"edges": [-5, 0, 5.5], "counts": [1, 2], "images": 3},
        "brightness": None,
        "size": {"edges": [8, 64.0, 20000], "counts": [4, 6], "images": 10},
        "images": 10,
    },
}
NOTHING: dict[str, Any] = {
    "temperature": None,
    "label_sets": [],
    "energy": None,
    "reference": None,
}
KERNEL, BIAS = head_kernel(), np.zeros(3, dtype=np.float32)
WEIGHTS = Head(KERNEL, BIAS).to_bytes()


def with_files(bundle: Path, files: dict[str, bytes], energy: bool | None = None) -> Bundle:
    """The bundle with more files, and a graph with all outputs; `energy` is what the manifest says."""
    write_files(bundle, {GRAPH: onnx_graph(energy=True), **files})
    return Bundle.open(write_manifest(bundle, energy=energy))


def test_what_is_absent_is_none(tmp_path: Path) -> None:
    opened = Bundle.open(write_bundle(tmp_path / "plain", trusted=False))
    assert opened.confidence() is None
    assert opened.explanation() is None


def test_format_1_has_neither(bundle: Path) -> None:
    write_files(bundle, {CONFIDENCE: b"no document", EXPLANATION: b"no graph"})
    opened = Bundle.open(write_manifest(bundle, bundle_format=1))
    assert opened.confidence() is None
    assert opened.explanation() is None


def test_confidence_is_read(bundle: Path) -> None:
    confidence = with_files(bundle, {CONFIDENCE: to_json(WHOLE)}).confidence()
    assert confidence is not None
    assert confidence.temperature == Temperature(1.25, 500)
    assert confidence.label_sets == (LabelSet(0.9, 0.62, 500), LabelSet(0.95, None, 12))
    assert confidence.energy is not None
    assert confidence.energy.threshold == -3.5
    assert confidence.reference is not None
    assert confidence.reference.classes == (3, 0, 7)
    assert confidence.reference.confidence is not None
    assert confidence.reference.confidence.counts == (2, 8)
    assert confidence.reference.brightness is None
    assert confidence.reference.size is not None
    assert confidence.reference.size.edges == (8, 64, 20000)


def test_a_part_that_was_not_measured_is_none(bundle: Path) -> None:
    confidence = with_files(bundle, {CONFIDENCE: to_json(NOTHING)}).confidence()
    assert confidence is not None
    assert confidence.label_sets == ()
    assert {confidence.temperature, confidence.energy, confidence.reference} == {None}


def at(*path: Any) -> Callable[[Any], Any]:  # noqa: ANN401  (keys and indices, and last a value)
    """The whole document with another value at a path."""
    *keys, last, value = path

    def change(document: Any) -> Any:  # noqa: ANN401  (JSON)
        place = document
        for key in keys:
            place = place[key]
        place[last] = value
        return document

    return change


def without(name: str) -> Callable[[Any], Any]:
    """The whole document without a part."""
    return lambda document: {key: value for key, value in document.items() if key != name}


NAN, INFINITE = float("nan"), float("inf")
# The change, and a word of the message.
HOSTILE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a list": (lambda _: [], "must be an object"),
    "null": (lambda _: None, "must be an object"),
    "no temperature": (without("temperature"), "no temperature"),
    "no sets": (without("label_sets"), "no label_sets"),
    "an unknown part": (at("accuracy", 1.0), "unknown key 'accuracy'"),
    "an unknown key of a part": (at("energy", "unit", "nat"), "unknown key 'unit'"),
    "temperature as a number": (at("temperature", 1.2), "temperature is 1.2"),
    "temperature of zero": (at("temperature", "value", 0), "temperature"),
    "temperature below zero": (at("temperature", "value", -1), "temperature"),
    "temperature of NaN": (at("temperature", "value", NAN), "temperature is nan"),
    "infinite temperature": (at("temperature", "value", INFINITE), "temperature is inf"),
    "a huge integer": (at("temperature", "value", 10**400), "temperature"),
    "temperature of true": (at("temperature", "value", True), "temperature is True"),
    "a text as number": (at("temperature", "value", "1"), "temperature"),
    "no image": (at("temperature", "images", 0), "images of temperature is 0"),
    "half an image": (at("temperature", "images", 1.5), "images of temperature"),
    "images of true": (at("temperature", "images", True), "images of temperature"),
    "sets in an object": (at("label_sets", {}), "must be a list"),
    "many sets": (at("label_sets", WHOLE["label_sets"] * 2), "at most 2"),
    "a level twice": (at("label_sets", 1, "level", 0.9), "ascend"),
    "another level": (at("label_sets", 0, "level", 0.8), "0.8"),
    "a level of NaN": (at("label_sets", 0, "level", NAN), "level"),
    "a quantile above one": (at("label_sets", 0, "quantile", 1.01), "quantile"),
    "an infinite threshold": (at("energy", "threshold", -INFINITE), "threshold"),
    "a share above one": (at("energy", "share", 1.5), "share"),
    "a clip below zero": (at("energy", "clip", -1), "the clip"),
    "a share in percent": (at("energy", "share", 5), "share"),
    "counts of another model": (at("reference", "classes", [3, 7]), "2 classes"),
    "counts of more classes": (at("reference", "classes", [3, 0, 7, 0]), "at most 3"),
    "counts that are too many": (at("reference", "classes", [3, 0, 8]), "11 in all"),
    "a count below zero": (at("reference", "classes", [-3, 6, 7]), "a count of classes"),
    "an edge too few": (at("reference", "confidence", "edges", [0, 1]), "one more edge"),
    "edges that descend": (at("reference", "confidence", "edges", [0, 1, 0.5]), "ascend"),
    "an edge twice": (at("reference", "confidence", "edges", [0, 0, 1]), "ascend"),
    "an edge of NaN": (at("reference", "confidence", "edges", [0, NAN, 1]), "an edge of confidence"),
    "a confidence above one": (at("reference", "confidence", "edges", [0, 1, 2]), "an edge of confidence"),
    "many bins": (at("reference", "energy", "counts", [0] * 2000), "at most 1000"),
    "a long text": (at("reference", "x" * 10_000), "..."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_confidence_is_refused(bundle: Path, name: str) -> None:
    change, word = HOSTILE[name]
    document = json.dumps(change(deepcopy(WHOLE))).encode()
    with pytest.raises(ContractBroken) as error:
        with_files(bundle, {CONFIDENCE: document}).confidence()
    assert str(bundle / CONFIDENCE) in str(error.value)
    assert word in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"temperature": 1e999}'])
def test_confidence_that_is_no_document(bundle: Path, data: bytes) -> None:
    with pytest.raises(ContractBroken):
        with_files(bundle, {CONFIDENCE: data}).confidence()


def test_a_threshold_for_energy_needs_the_output(bundle: Path) -> None:
    opened = with_files(bundle, {CONFIDENCE: to_json(WHOLE)}, energy=False)
    with pytest.raises(ContractBroken, match="no such output"):
        opened.confidence()


def test_optional_outputs_change_no_probability(bundle: Path) -> None:
    images = [one_colour_png(rgb) for rgb in COLOURS.values()]
    expected = [Predictor.open(bundle).classify(image) for image in images]
    more = Predictor.from_bundle(with_files(bundle, {}))
    assert np.array_equal([more.classify(image) for image in images], expected)


def test_head_gives_the_logits(bundle: Path) -> None:
    opened = with_files(bundle, {HEAD: WEIGHTS, EXPLANATION: explanation()})
    added = opened.explanation()
    assert added is not None
    session = create_session(opened.read(GRAPH) + added, threads=1, avoid_saturation=False)
    head = opened.head(3)
    assert np.array_equal(head.kernel, KERNEL)
    pixels = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    energy, features = session.run(["energy", "features"], {"image": pixels})
    logits = features.mean(axis=(1, 2)) @ head.kernel + head.bias
    assert energy == pytest.approx(np.log(np.exp(logits).sum(axis=1)), abs=1e-5)


def test_head_is_an_array_of_numpy(bundle: Path) -> None:
    array = np.load(io.BytesIO(WEIGHTS), allow_pickle=False)
    assert array.dtype == np.float32
    assert np.array_equal(array, np.vstack([KERNEL, BIAS]))


def saved(array: Any, **options: Any) -> bytes:  # noqa: ANN401  (whatever NumPy writes)
    """The file that NumPy writes for an array."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


BAD_WEIGHTS = {
    "nothing": b"",
    "half": WEIGHTS[:-8],
    "more": WEIGHTS + b"\0\0\0\0",
    "the kernel alone": saved(KERNEL),
    "float64": saved(np.zeros((4, 3))),
    "big end first": saved(np.zeros((4, 3), dtype=">f4")),
    "another order": saved(np.asfortranarray(np.zeros((4, 3), dtype=np.float32))),
    "objects": saved(np.array([[None] * 3] * 4), allow_pickle=True),
    "a huge shape": WEIGHTS.replace(b"(4, 3)", b"(9**9,)"),
    "NaN": Head(KERNEL, BIAS * np.float32("nan")).to_bytes(),
    "infinity": Head(KERNEL, BIAS + np.float32("inf")).to_bytes(),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_other_weights_are_refused(bundle: Path, name: str) -> None:
    with pytest.raises(ContractBroken, match=r"head\.npy"):
        with_files(bundle, {HEAD: BAD_WEIGHTS[name]}).head(3)


def test_features_need_weights(bundle: Path) -> None:
    (bundle / HEAD).unlink()
    with pytest.raises(ContractBroken, match=r"head\.npy, which is missing"):
        Bundle.open(write_manifest(bundle)).explanation()
