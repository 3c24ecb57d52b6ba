"""Special files, impossible values and oversized files are refused with one sentence, without blocking."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.artifact.bundle import Bundle
from serving.artifact.files import read_file
from serving.artifact.manifest import GOLDEN, GRAPH, LABELS, MANIFEST, MAX_FILE_BYTES, Manifest, ManifestFile
from serving.artifact.pin import VERSIONS, Pin
from serving.errors import (
    ContractBroken,
    DigestMismatch,
    FileUnreadable,
    ManifestInvalid,
    ModelMismatch,
    PinInvalid,
)
from serving.model.predictor import Predictor
from tests.repo.imports import ROOT
from tests.serving.bundles import COLOURS, SIZE, TOLERANCE, write_files, write_manifest

DIGEST = "0" * 64


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_ring_of_links(path: Path) -> None:
    other = path.with_name("other")
    other.symlink_to(path)
    path.symlink_to(other)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_socket(path: Path) -> None:
    # The path of a socket is limited to about 100 bytes. Its file remains after it is closed.
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_a_terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def a_terabyte(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


SPECIAL_FILES = {
    make.__name__.replace("_", " "): make
    for make in (
        a_pipe, a_link_to_itself, a_ring_of_links, a_folder, a_socket, a_link_to_a_device,
        a_link_to_a_terminal, a_terabyte,
    )
}  # fmt: skip


def check_sentence(error: BaseException, path: Path) -> None:
    sentence = str(error)
    assert len(sentence.splitlines()) == 1
    assert sentence.startswith(str(path))
    assert "Errno" not in sentence


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", SPECIAL_FILES)
def test_pin(tmp_path: Path, name: str) -> None:
    path = tmp_path / "colours.json"
    SPECIAL_FILES[name](path)
    with pytest.raises(PinInvalid) as caught:
        Pin.read(path)
    check_sentence(caught.value, path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("file", [MANIFEST, GRAPH, LABELS, GOLDEN])
@pytest.mark.parametrize("name", SPECIAL_FILES)
def test_file_of_a_bundle(bundle: Path, file: str, name: str) -> None:
    path = bundle / file
    path.unlink()
    SPECIAL_FILES[name](path)
    with pytest.raises((FileUnreadable, DigestMismatch)) as caught:
        Predictor.open(bundle)
    check_sentence(caught.value, path)


def test_file_that_is_longer_or_shorter_says_by_how_much(bundle: Path) -> None:
    size = (bundle / LABELS).stat().st_size
    for other in (size - 1, size + 1, 0):
        os.truncate(bundle / LABELS, other)
        with pytest.raises(DigestMismatch, match=f"its size should be {size} bytes and is {other}"):
            Bundle.open(bundle).verify()


def test_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    # Files in procfs report a size of zero although they have content.
    with pytest.raises(FileUnreadable, match="more than 3 bytes"):
        read_file(Path("/proc/self/status"), 3)


def test_links_to_files_are_followed(bundle: Path) -> None:
    # DVC's cache may be linked into the workspace.
    (bundle / LABELS).rename(bundle.parent / "cached")
    (bundle / LABELS).symlink_to(bundle.parent / "cached")
    Predictor.open(bundle)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to give up root's rights")
@pytest.mark.parametrize("file", [MANIFEST, GRAPH, "serving", "serving/golden"])
def test_file_or_folder_that_may_not_be_read(bundle: Path, file: str) -> None:
    (bundle / file).chmod(0)
    script = f"import pathlib, serving.model.predictor as p; p.Predictor.open(pathlib.Path({str(bundle)!r}))"
    unprivileged = (
        ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    )
    done = subprocess.run(
        [*unprivileged, sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    (bundle / file).chmod(0o755)
    assert done.stderr.splitlines()[-1].startswith("serving.errors.FileUnreadable: "), done.stderr
    assert done.stderr.splitlines()[-1].endswith("Permission denied.")


def pin_bytes(version: str, name: str = '"colours"') -> bytes:
    """The bytes of a pin, with any JSON as version and name."""
    return f'{{\n "digest": "{DIGEST}",\n "name": {name},\n "version": {version}\n}}\n'.encode()


def test_a_pin_is_written_so() -> None:
    for version in (0, 1, VERSIONS[-1]):
        assert Pin.parse(pin_bytes(str(version)), Path("colours.json")) == Pin("colours", version, DIGEST)


@pytest.mark.parametrize(
    "version",
    ["-1", str(2**31), str(2**70), "1" * 5000, "true", "false", "1.0", "1.5", "1e3", "1e400", "-1e400", "NaN",
     "Infinity", "-0", "null", '"1"', "[1]", "{}", ""],
)  # fmt: skip
def test_version_of_a_pin(version: str) -> None:
    with pytest.raises(PinInvalid) as caught:
        Pin.parse(pin_bytes(version), Path("colours.json"))
    check_sentence(caught.value, Path("colours.json"))


@pytest.mark.parametrize("name", ['"other"', '"\\ud800"', "null", "true", '["colours"]', '"colours\\u0000"'])
def test_name_of_a_pin(name: str) -> None:
    with pytest.raises(PinInvalid) as caught:
        Pin.parse(pin_bytes("1", name), Path("colours.json"))
    check_sentence(caught.value, Path("colours.json"))


NUMBERS = [1e9, 1, 0.1, -0.001, float("nan"), float("inf"), True, "0.005", None, [0.005], 10**400]


@pytest.mark.parametrize("tolerance", NUMBERS, ids=str)
def test_tolerance_of_golden_answers(bundle: Path, tolerance: object) -> None:
    answers = json.loads((bundle / GOLDEN).read_bytes()) | {"tolerance": tolerance}
    write_files(bundle, {GOLDEN: json.dumps(answers).encode()})
    with pytest.raises(ContractBroken, match="tolerance") as caught:
        Bundle.open(write_manifest(bundle)).golden_images()
    check_sentence(caught.value, bundle / GOLDEN)


@pytest.mark.parametrize(
    "answer",
    [[2.0, 0, 0], [-0.1, 0.6, 0.5], [float("nan")] * 3, [10**400, 0, 0], ["x", 0, 0], [None] * 3, [[0]], 1],
    ids=str,
)  # fmt: skip
def test_golden_answers_are_probabilities(bundle: Path, answer: object) -> None:
    document = {"tolerance": TOLERANCE, "images": [{"file": "0.png", "probabilities": answer}]}
    write_files(bundle, {GOLDEN: json.dumps(document).encode()})
    with pytest.raises(ContractBroken) as caught:
        Bundle.open(write_manifest(bundle)).golden_images()
    check_sentence(caught.value, bundle / GOLDEN)


def change_entry(**values: Any) -> Callable[[dict[str, Any]], None]:  # noqa: ANN401  (whatever JSON holds)
    """A change of the graph's entry in the manifest."""
    return lambda document: document["files"][GRAPH].update(values)


IMPOSSIBLE: dict[str, Callable[[dict[str, Any]], None]] = {
    "a size of -1": change_entry(size=-1),
    "a size of 2^70": change_entry(size=2**70),
    "a size above the largest": change_entry(size=MAX_FILE_BYTES + 1),
    "a size of 1.5": change_entry(size=1.5),
    "a size that is true": change_entry(size=True),
    "a size in a text": change_entry(size="1"),
    "a role in a list": change_entry(role=["serving"]),
    "no SHA-256": change_entry(sha256=None),
    "a side of 8.0": lambda document: document["input"].update(shape=[None, 8.0, 8, 3]),
    "a side of true": lambda document: document["input"].update(shape=[None, 8, 8, True]),
    "a negative side": lambda document: document["input"].update(shape=[None, -8, 8, 3]),
    "no class": lambda document: document["output"].update(shape=[None, 0]),
    "infinitely many classes": lambda document: document["output"].update(shape=[None, 1e999]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_values_in_a_manifest(bundle: Path, name: str) -> None:
    document = json.loads((bundle / MANIFEST).read_bytes())
    IMPOSSIBLE[name](document)
    text = json.dumps(document, sort_keys=True, indent=1).replace("Infinity", "1e999")
    (bundle / MANIFEST).write_text(text + "\n")
    with pytest.raises(ManifestInvalid) as caught:
        Bundle.open(bundle).verify()
    check_sentence(caught.value, bundle / MANIFEST)


def test_manifest_of_another_model(bundle: Path) -> None:
    Bundle.open(bundle).check_name("colours")
    with pytest.raises(ModelMismatch, match=r"of the model 'colours', and the pin .* is of digits"):
        Bundle.open(bundle).check_name("digits")


def test_manifest_of_an_endless_number_of_files(bundle: Path) -> None:
    files = {f"serving/{number}": ManifestFile("serving", DIGEST, 1) for number in range(10_000)}
    data = Manifest("colours", files, (SIZE, SIZE, 3), len(COLOURS)).to_bytes()
    (bundle / MANIFEST).write_bytes(data)
    with pytest.raises(FileUnreadable, match=f"it has {len(data):,} bytes, and 1,048,576 are allowed"):
        Bundle.open(bundle)
