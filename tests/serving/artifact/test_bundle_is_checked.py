"""A bundle with a changed byte, file or manifest entry is refused, with the name of the file."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import FORMAT, GRAPH, LABELS, MANIFEST, PREPROCESSING, Manifest, ManifestFile
from serving.errors import (
    BundleMissing,
    ContractBroken,
    DigestMismatch,
    FileMissing,
    FileUnexpected,
    ManifestInvalid,
)
from serving.model.predictor import Predictor
from serving.model.preprocessing import Preprocessing
from serving.pyfunc import _load_pyfunc
from tests.serving.bundles import (
    COLOURS,
    SIZE,
    SQUARE,
    bundle_files,
    onnx_graph,
    preprocessing_json,
    write_bundle,
    write_files,
    write_manifest,
)

FILES = sorted(bundle_files())
LABEL = [{"id": f"c{number}", "name": name} for number, name in enumerate(COLOURS)]


def flip(path: Path, position: int) -> None:
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("position", [0, -1])
def test_flipped_byte(bundle: Path, name: str, position: int) -> None:
    flip(bundle / name, position)
    with pytest.raises(DigestMismatch, match=re.escape(f"{bundle / name} was changed")):
        Predictor.open(bundle)


def test_flipped_byte_of_the_manifest(bundle: Path) -> None:
    whole, released = (bundle / MANIFEST).read_bytes(), Bundle.open(bundle).digest
    for position in range(len(whole)):
        (bundle / MANIFEST).write_bytes(whole)
        flip(bundle / MANIFEST, position)
        # Some changes give a valid manifest, for example another name; its digest differs.
        with suppress(ManifestInvalid):
            assert Bundle.open(bundle).digest != released


@pytest.mark.parametrize("name", FILES)
def test_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(FileMissing, match=re.escape(str(bundle / name))):
        Predictor.open(bundle)


# Files of roles that only the pipeline needs; a server's bundle may lack them.
PIPELINE_FILES = {"MLmodel": b"flavors: {}\n", "data/model.keras": b"a model", "code/x.py": b"X = 1\n"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a bundle with the files of all roles."""
    return write_bundle(tmp_path / "whole", extra=PIPELINE_FILES)


def test_slim_bundle_answers_under_the_same_digest(whole: Path) -> None:
    digest = Bundle.open(whole).digest
    for name in PIPELINE_FILES:
        (whole / name).unlink()
    assert Predictor.open(whole).bundle.digest == digest


@pytest.mark.parametrize("absent", PIPELINE_FILES)
def test_pipeline_asks_for_the_whole_bundle(whole: Path, absent: str) -> None:
    (whole / absent).unlink()
    with pytest.raises(FileMissing, match=re.escape(str(whole / absent))):
        Bundle.open(whole).verify()


@pytest.mark.parametrize("present", PIPELINE_FILES)
def test_role_that_is_there_in_part_is_refused(whole: Path, present: str) -> None:
    absent = PIPELINE_FILES.keys() - {present}
    for name in absent:
        (whole / name).unlink()
    named = "|".join(re.escape(str(whole / name)) for name in absent)
    with pytest.raises(FileMissing, match=f"^({named}) is named"):
        Predictor.open(whole)


@pytest.mark.parametrize("name", FILES)
def test_slim_bundle_has_every_file_that_answers(whole: Path, name: str) -> None:
    for other in [*PIPELINE_FILES, name]:
        (whole / other).unlink()
    with pytest.raises(FileMissing, match=re.escape(str(whole / name))):
        Predictor.open(whole)


@pytest.mark.parametrize("name", PIPELINE_FILES)
def test_file_that_is_not_needed_and_is_there_is_checked(whole: Path, name: str) -> None:
    flip(whole / name, 0)
    with pytest.raises(DigestMismatch, match=re.escape(str(whole / name))):
        Predictor.open(whole)


def test_roles_are_absent_one_by_one(whole: Path) -> None:
    manifest = Bundle.open(whole).manifest
    roles = {"MLmodel": "mlflow", "data/model.keras": "keras", "code/x.py": "code"}
    files = {
        name: ManifestFile(roles.get(name, file.role), file.sha256, file.size)
        for name, file in manifest.files.items()
    }
    (whole / MANIFEST).write_bytes(replace(manifest, files=files).to_bytes())
    for name in roles:
        (whole / name).unlink()
        Predictor.open(whole)


@pytest.mark.parametrize("place", ["nothing", "empty", "a file"])
def test_missing_bundle(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    with pytest.raises(BundleMissing, match=re.escape(f"{tmp_path / place}: ")):
        Predictor.open(tmp_path / place)


@pytest.mark.parametrize("name", [*FILES, *PIPELINE_FILES])
def test_mlflow_opens_no_file_of_a_bundle_that_was_changed(
    whole: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.pyfunc.Predictor.open", lambda _: pytest.fail("it was opened"))
    flip(whole / name, 0)
    with pytest.raises(DigestMismatch, match=re.escape(str(whole / name))):
        _load_pyfunc(str(whole))
    (whole / name).unlink()
    with pytest.raises(FileMissing, match=re.escape(str(whole / name))):
        _load_pyfunc(str(whole))


@pytest.mark.parametrize("name", ["extra", ".hidden", "serving/other.onnx", "serving/registered_model_meta"])
def test_extra_file(bundle: Path, name: str) -> None:
    write_files(bundle, {name: b""})
    with pytest.raises(FileUnexpected, match=re.escape(str(bundle / name))):
        Predictor.open(bundle)


LINKS = {"a link to a folder": ".", "a link to nothing": "nothing"}


@pytest.mark.parametrize("name", LINKS)
def test_link(bundle: Path, name: str) -> None:
    (bundle / "serving/link").symlink_to(bundle.parent / LINKS[name])
    with pytest.raises(FileUnexpected, match="serving/link"):
        Predictor.open(bundle)


@pytest.mark.parametrize("name", ["registered_model_meta", "code/serving/__pycache__/pyfunc.cpython-311.pyc"])
def test_what_mlflow_and_python_leave_behind(bundle: Path, name: str) -> None:
    write_files(bundle, {name: b"model_name: colours\n"})
    Predictor.open(bundle)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A canonical manifest with one change."""

    def make(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return to_json(document)

    return make


def with_file(path: str) -> Callable[[bytes], bytes]:
    """A manifest that also lists `path`."""
    entry = {"role": "serving", "sha256": "0" * 64, "size": 1}
    return changed(lambda document: document["files"].update({path: entry}))


def with_output(name: str, shape: list[int | float | None]) -> Callable[[bytes], bytes]:
    """A manifest that also declares this output."""
    entry = {"name": name, "dtype": "float32", "shape": shape}
    return changed(lambda document: document["outputs"].append(entry))


INVALID: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "no JSON": lambda data: data[:-3],
    "one bit flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "no text": lambda data: b"\xff\xfe" + data,
    "a list": lambda data: b"[]\n",
    "null": lambda data: b"null\n",
    "too deep": lambda data: b"[" * 100_000,
    "not canonical": lambda data: data.replace(b"\n", b"\r\n"),
    "a key twice": lambda data: data.replace(b'"format": 2,', b'"format": 2,\n "format": 2,'),
    "a newer format": changed(lambda document: document.update(format=FORMAT + 1)),
    "an older format": changed(lambda document: document.update(format=1)),
    "a format of true": changed(lambda document: document.update(format=True)),
    "a format of 2.0": changed(lambda document: document.update(format=2.0)),
    "a format in a list": changed(lambda document: document.update(format=[2])),
    "no format": changed(lambda document: document.pop("format")),
    "no outputs": changed(lambda document: document.update(outputs=[])),
    "an output without a name": changed(lambda document: document["outputs"][0].pop("name")),
    "an output with a list as name": changed(lambda document: document["outputs"][0].update(name=[])),
    "an output twice": changed(lambda document: document["outputs"].append(document["outputs"][0])),
    "an unknown output": with_output("logits", [None, 3]),
    "energy of two dimensions": with_output("energy", [None, 3]),
    "features": with_output("features", [None, 7, 7, 1280]),
    "an image of two dimensions": changed(lambda document: document["input"].update(shape=[None, 8, 8])),
    "an unknown key": changed(lambda document: document.update(comment="")),
    "an unknown key of a file": changed(lambda document: document["files"][GRAPH].update(url="")),
    "no files": changed(lambda document: document.pop("files")),
    "no size": changed(lambda document: document["files"][GRAPH].pop("size")),
    "files as a list": changed(lambda document: document.update(files=list(document["files"]))),
    "no shape": changed(lambda document: document["input"].update(shape=None)),
    "no classes": changed(lambda document: document["outputs"][0].update(shape=[None])),
    "a path upwards": with_file("../outside"),
    "a hidden path upwards": with_file("serving/../../outside"),
    "no name": with_file(""),
    "a name with a zero byte": with_file("a\0b"),
    "an absolute path": with_file(str(Path("/outside").absolute())),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_manifest(bundle: Path, name: str) -> None:
    path = bundle / MANIFEST
    (bundle.parent / "outside").write_bytes(b"x")
    path.write_bytes(INVALID[name](path.read_bytes()))
    with pytest.raises(ManifestInvalid, match=re.escape(str(path))):
        Bundle.open(bundle).verify()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"energy": True},
        {"input_shape": (28, 20, 1)},
        {"format": 1},
    ],
    ids=str,
)
def test_manifest_is_read_as_it_was_written(more: dict[str, Any]) -> None:
    files = {"a/b": ManifestFile("serving", "0" * 64, 1)}
    manifest = Manifest(**{"name": "ünï", "files": files, "input_shape": (8, 8, 3), "classes": 3, **more})
    assert Manifest.from_bytes(manifest.to_bytes(), Path()) == manifest


def test_digest_is_of_the_contents(tmp_path: Path) -> None:
    folders = [
        write_bundle(tmp_path / "a"),
        write_bundle(tmp_path / "b"),
        write_bundle(tmp_path / "c", steepness=5.0),
        write_bundle(tmp_path / "d", extra={"MLmodel": b""}),
        write_bundle(tmp_path / "e", name="colors"),
    ]
    digests = [Bundle.open(folder).digest for folder in folders]
    assert digests[0] == digests[1]
    assert len(set(digests)) == len(digests) - 1


def test_file_that_the_manifest_does_not_name_is_not_read(bundle: Path) -> None:
    with pytest.raises(ManifestInvalid, match="does not name MLmodel"):
        Bundle.open(bundle).read("MLmodel")


# Changed files, changed manifest values, the file named in the error, and a part of the reason.
BROKEN: dict[str, tuple[dict[str, bytes], dict[str, Any], str, str]] = {
    "a label too few": ({LABELS: to_json(LABEL[:2])}, {}, LABELS, "2 labels for 3 outputs"),
    "a label too many": (
        {LABELS: to_json([*LABEL, {"id": "c3", "name": "grey"}])},
        {"classes": 4},
        GRAPH,
        "its output is",
    ),
    "no labels": ({LABELS: b"{"}, {}, LABELS, "Expecting"),
    "labels without ids": ({LABELS: to_json([{"name": name} for name in COLOURS])}, {}, LABELS, "id"),
    "labels in an object": ({LABELS: to_json(COLOURS)}, {}, LABELS, ""),
    "a label twice": ({LABELS: to_json([*LABEL[:2], {"id": "c2", "name": "red"}])}, {}, LABELS, "same name"),
    "a graph of another size": (
        {GRAPH: onnx_graph(shape=(2 * SIZE, 2 * SIZE, 3))},
        {},
        GRAPH,
        "its input is",
    ),
    "a graph of floats": ({GRAPH: onnx_graph(kind=TensorProto.FLOAT)}, {}, GRAPH, "its input is"),
    "a graph with another input": ({GRAPH: onnx_graph(image="x")}, {}, GRAPH, "its input is"),
    "another shape in the manifest": ({}, {"shape": (16, 16, 3)}, MANIFEST, "[16, 16, 3]"),
    "no graph": ({GRAPH: b"<html>"}, {}, GRAPH, "ONNX Runtime cannot load it"),
    "an empty graph": ({GRAPH: b""}, {}, GRAPH, "ONNX Runtime cannot load it"),
    "half a graph": ({GRAPH: onnx_graph()[:200]}, {}, GRAPH, "ONNX Runtime cannot load it"),
    "another size": (
        {PREPROCESSING: preprocessing_json(Preprocessing.square(16, 1.0))},
        {},
        GRAPH,
        "its input is",
    ),
    "format 1 in a bundle of format 2": (
        {PREPROCESSING: preprocessing_json(SQUARE, bundle_format=1)},
        {},
        PREPROCESSING,
        "unknown key 'interpolation'",
    ),
    "format 2 in a bundle of format 1": ({}, {"bundle_format": 1}, PREPROCESSING, "antialias"),
    "energy that is not declared": ({}, {"energy": False}, GRAPH, "its output is"),
    "energy that is not there": ({GRAPH: onnx_graph()}, {}, GRAPH, "its output is"),
    "no preprocessing": ({PREPROCESSING: b"{"}, {}, PREPROCESSING, "Expecting"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_contract(bundle: Path, name: str) -> None:
    files, values, named, reason = BROKEN[name]
    write_files(bundle, files)
    write_manifest(bundle, **values)
    with pytest.raises(ContractBroken, match=re.escape(str(bundle / named))) as caught:
        Predictor.open(bundle)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in BROKEN if name not in ("no graph", "an empty graph", "half a graph")),
        *("no graph", "an empty graph", "half a graph"),
    ],
)
def test_sentence_of_a_broken_contract_ends_once(bundle: Path, name: str) -> None:
    files, values, _, _ = BROKEN[name]
    write_files(bundle, files)
    write_manifest(bundle, **values)
    with pytest.raises(ContractBroken) as caught:
        Predictor.open(bundle)
    assert re.fullmatch(r".*[^.]\.", str(caught.value))


@pytest.mark.parametrize("shape", [(16, 16, 3), (SIZE, SIZE, 1)])
def test_sentence_about_the_manifest_names_both_shapes(bundle: Path, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ContractBroken) as caught:
        Predictor.open(write_manifest(bundle, shape=shape))
    for side in (shape, (SIZE, SIZE, 3)):
        assert str(list(side)) in str(caught.value)
