"""One flipped byte anywhere between data and pin: `verify` and `trace` fail and name the file."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.environment import Environment
from pipeline.errors import ChainBroken
from pipeline.layout import Layout
from pipeline.registry import chain_of_custody
from pipeline.registry.mlflow_registry import Registry
from serving.artifact.manifest import MANIFEST
from tests.pipeline.projects import Project
from tests.serving.registries import flipped_byte

LAYOUT = Layout("tiny")
GRAPH = "serving/model.onnx"
LINKS = ("data", "dvc.lock", "bundle", "registry", "pin")


def broken_links() -> list[str]:
    """What `verify` reports of bundle, registry and pin, in this order.

    The links before them start DVC, which takes seconds; the tests that run the whole commands include them.
    """
    broken = []
    for link in chain_of_custody.chain_links(LAYOUT, lambda: Registry.connect(Environment.read())):
        if link.name in LINKS[2:]:
            try:
                link.verify()
            except ChainBroken as error:
                broken.append(str(error))
    return broken


def registered(root: Path, name: str) -> Path:
    """The registry's copy of a file of the bundle."""
    (manifest,) = [path for path in (root / "mlartifacts").rglob(MANIFEST) if "models" in path.parts]
    return manifest.parent / name


@contextmanager
def changed(path: Path, data: bytes) -> Iterator[None]:
    """A file with other contents, for as long as a block runs."""
    whole = path.read_bytes()
    assert data != whole
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


def test_a_whole_chain_holds(built: Project) -> None:
    for verb in ("verify", "trace"):
        done = built.pipeline(verb, "tiny")
        assert done.returncode == 0, done.stdout + done.stderr
        for link in LINKS:
            assert f"{link}: " in done.stdout


def test_verify_lists_every_broken_link_and_trace_stops_at_the_first(
    inside_built: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with flipped_byte(LAYOUT.bundle / GRAPH), flipped_byte(registered(inside_built.root, GRAPH)):
        assert main(["verify", "tiny"]) == 1
        verified = capsys.readouterr().out
        assert main(["trace", "tiny"]) == 1
        traced = capsys.readouterr()
    states = [line.split()[0] for line in verified.splitlines()]
    assert states == ["ok", "ok", "BROKEN", "BROKEN", "ok"]
    assert f"{LAYOUT.bundle}/{GRAPH}" in verified
    assert "models:/tiny/1" in verified
    assert [line.split(":")[0] for line in traced.out.splitlines()] == ["data", "dvc.lock"]
    assert f"{LAYOUT.bundle}/{GRAPH}" in traced.err


@pytest.mark.parametrize(
    "name", [GRAPH, "data/model.keras", "manifest.json", "code/serving/model/decoder.py"]
)
def test_a_changed_file_of_the_bundle(inside_built: Project, name: str) -> None:
    with flipped_byte(LAYOUT.bundle / name):
        assert f"models/tiny/bundle/{name}" in broken_links()[0]
    assert broken_links() == []


@pytest.mark.parametrize("name", [GRAPH, "data/model.onnx", "serving/labels.json", "manifest.json"])
def test_a_changed_file_in_the_registry(inside_built: Project, name: str) -> None:
    with flipped_byte(registered(inside_built.root, name)):
        first = broken_links()[0]
    assert "models:/tiny/1" in first
    assert name in first


def test_a_file_missing_from_the_registry(inside_built: Project) -> None:
    path = registered(inside_built.root, GRAPH)
    with changed(path, b""):
        path.unlink()
        first = broken_links()[0]
    assert "registry" in first
    assert GRAPH in first


@pytest.mark.parametrize("place", ["digest", "version", "name", "layout"])
def test_a_changed_pin(inside_built: Project, place: str) -> None:
    whole = LAYOUT.pin.read_bytes()
    pin = json.loads(whole)
    data = {
        "digest": whole.replace(pin["digest"][:4].encode(), b"0000"),
        "version": whole.replace(b'"version": 1', b'"version": 3'),
        "name": whole.replace(b'"tiny"', b'"tinz"'),
        "layout": whole.replace(b"\n}", b" }"),
    }[place]
    with changed(LAYOUT.pin, data):
        first = broken_links()[0]
    assert ("pins/tiny.json" if place != "digest" else "0000") in first


def test_changed_data(built: Project) -> None:
    with flipped_byte(built.root / "data/raw/tiny/red/000.jpg"):
        done = built.pipeline("trace", "tiny")
    assert done.returncode == 1
    assert "broken at data" in done.stderr
    assert "data/raw/tiny" in done.stderr


def test_a_registry_that_does_not_answer(inside_built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    first = broken_links()[0]
    assert "broken at registry" in first
    assert "does not answer" in first
    assert "secret" not in first


def test_an_up_to_date_lock_is_told_without_data(built: Project, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone")
    done = clone.pipeline("stale")
    assert (done.returncode, done.stdout) == (0, "dvc.lock is up to date\n")
    assert not (clone.root / "models").exists()


STALE = (
    ("params.yaml", "seed: 1", "seed: 2", ("build@tiny", "tiny.build")),
    (
        "pipeline/stages/prepare.py",
        "counts = ",
        "counted = ",
        ("prepare@tiny", "pipeline/stages/prepare.py"),
    ),
    ("serving/model/decoder.py", "MIN_SIDE = 8", "MIN_SIDE = 9", ("evaluate@tiny", "serving/model")),
    (
        "dvc.yaml",
        "cmd: python -m pipeline.stages.export",
        "cmd: python -B -m pipeline.stages.export",
        ("export@tiny", "command"),
    ),
)


def test_a_stale_lock_is_told_without_data(built: Project, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone")
    for file, before, after, _ in STALE:
        path = clone.root / file
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
    done = clone.pipeline("stale", "tiny")
    assert done.returncode == 1
    assert "out of date" in done.stdout
    for _, _, _, words in STALE:
        assert [line for line in done.stdout.splitlines() if all(word in line for word in words)], words


def test_history_lists_who_pinned_what(inside_built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "version 1" in printed
    assert "test@example.org" in printed
    assert json.loads(LAYOUT.pin.read_text())["digest"] in printed


def test_there_is_nothing_to_go_back_to(inside_built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", "tiny"]) == 1
    assert "no earlier pin" in capsys.readouterr().err
    assert inside_built.changes() == ""


@pytest.mark.parametrize(
    ("verb", "model", "words"),
    [
        ("run", "unicorn", "no model 'unicorn'"),
        ("run", "../etc", "'../etc' cannot be a model's name"),
        ("run", "models", "'models' cannot be a model's name"),
        ("trace", "unicorn", "no model 'unicorn'"),
        ("stale", "unicorn", "no model 'unicorn'"),
        ("stale", "Unicorn", "Call it unicorn"),
    ],
)
def test_an_unknown_model_is_named(
    inside_built: Project, capsys: pytest.CaptureFixture[str], verb: str, model: str, words: str
) -> None:
    assert main([verb, model]) == 1
    assert words in capsys.readouterr().err
    assert inside_built.changes() == ""


def test_a_damaged_report_is_named(inside_built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with changed(LAYOUT.metrics, b"{"):
        assert main(["promote", "tiny"]) == 1
        assert "reports/tiny/metrics.json is not as it was written" in capsys.readouterr().err
        LAYOUT.metrics.unlink()
        assert main(["stale", "tiny"]) == 1
        assert "reports/tiny/metrics.json: deleted" in capsys.readouterr().out
    assert inside_built.changes() == ""
