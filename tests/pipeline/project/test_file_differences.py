"""Differences of two files in a few words."""

import io
import json
import zipfile

import h5py
import numpy as np
import onnx
import pytest

from pipeline.project.file_differences import describe_difference


def keras_file(**arrays: object) -> bytes:
    weights, archive = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        for name, value in arrays.items():
            file[f"layers/{name}"] = value
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("model.weights.h5", weights.getvalue())
    return archive.getvalue()


def onnx_file(**arrays: object) -> bytes:
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    graph = onnx.helper.make_graph([], "test", [], [], tensors)
    made: bytes = onnx.helper.make_model(graph).SerializeToString()
    return made


ONE, TWO = np.array([1, 2, 3], np.float32), np.array([1, 2.5, 3.25], np.float32)


@pytest.mark.parametrize(
    ("name", "expected", "found", "said"),
    [
        ("a.json", b"same", b"same", None),
        ("a.json", None, b"{}", "is not expected"),
        ("a.json", b"{}", None, "is missing"),
        (
            "a.json",
            b'{"a": {"b": 1, "c": 2}}',
            b'{"a": {"b": 3}}',
            "a.b is 3 instead of 1; 1 more keys differ",
        ),
        ("a.json", b'{"a": 1}', b'{"a":1}', "has equal values, but other bytes"),
        ("a.json", b"no json", b"not at all", "has 10 bytes instead of 7"),
        ("dvc.lock", b"stages: {b: 1}", b"stages: {}", "stages is {} instead of missing; 1 more keys differ"),
        ("a.csv", b"x,y\n1,2\n", b"x,y\n1,3\n", "line 2 is '1,3' instead of '1,2'"),
        ("a.csv", b"x\n", b"x\ny\n", "has 2 lines instead of 1"),
        ("a.png", b"\x00\x01\x02", b"\x00\x02\x01", "2 of 3 bytes differ"),
        (
            "a.keras",
            keras_file(a=ONE, b=ONE),
            keras_file(a=ONE, b=TWO),
            "1 of 2 tensors differ, by up to 0.5",
        ),
        ("a.keras", keras_file(a=ONE), keras_file(b=ONE), "has other weights: layers/a and 1 more"),
        ("a.keras", b"no archive", b"no archivE", "1 of 10 bytes differ"),
        ("a.onnx", onnx_file(a=ONE), onnx_file(a=TWO), "1 of 1 tensors differ, by up to 0.5, which is in a"),
        ("a.onnx", onnx_file(a=ONE), onnx_file(a=ONE[:2]), "has other weights: a"),
        ("a.onnx", b"\xffdamaged", b"\xffdamageD", "1 of 8 bytes differ"),
    ],
)
def test_a_difference_is_described(name: str, expected: bytes | None, found: bytes | None, said: str) -> None:
    described = describe_difference(name, expected, found)
    assert (described is None) is (said is None)
    assert (described or "").startswith(said or ""), described


def test_long_values_are_cut() -> None:
    described = describe_difference("a.json", json.dumps({"a": "x" * 500}).encode(), b'{"a": 1}')
    assert described is not None
    assert len(described) < 100
