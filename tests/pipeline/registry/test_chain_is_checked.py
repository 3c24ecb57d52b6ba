"""One flipped byte anywhere between data and pin: `verify` and `trace` fail, and name the file."""

import json
from pathlib import Path

import pytest

from serving.artifact.manifest import MANIFEST
from tests.pipeline.projects import Project
from tests.serving.registries import flipped


def broken(project: Project, *named: str) -> None:
    """Both commands must fail and say these words; `trace` ends with the first broken link."""
    for verb in ("verify", "trace"):
        done = project.pipeline(verb, "tiny")
        assert done.returncode == 1, done.stdout
        for words in named:
            assert words in done.stdout + done.stderr, (verb, done.stdout, done.stderr)


def registered(project: Project, name: str) -> Path:
    """The registry's copy of a file of the bundle."""
    (manifest,) = [path for path in (project.root / "mlartifacts").rglob(MANIFEST) if "models" in path.parts]
    return manifest.parent / name


def test_a_whole_chain_holds(built: Project) -> None:
    for verb in ("verify", "trace"):
        done = built.pipeline(verb, "tiny")
        assert done.returncode == 0, done.stdout + done.stderr
        for link in ("data", "dvc.lock", "bundle", "registry", "pin"):
            assert f"{link}: " in done.stdout


@pytest.mark.parametrize(
    "name", ["serving/model.onnx", "data/model.keras", "manifest.json", "code/serving/model/decoder.py"]
)
def test_a_changed_file_of_the_bundle(built: Project, name: str) -> None:
    with flipped(built.root / "models/tiny/bundle" / name):
        broken(built, f"models/tiny/bundle/{name}")


@pytest.mark.parametrize(
    "name", ["serving/model.onnx", "data/model.onnx", "serving/labels.json", "manifest.json"]
)
def test_a_changed_file_in_the_registry(built: Project, name: str) -> None:
    with flipped(registered(built, name)):
        broken(built, "models:/tiny/1", name)


def test_a_file_missing_from_the_registry(built: Project) -> None:
    path = registered(built, "serving/model.onnx")
    whole = path.read_bytes()
    path.unlink()
    try:
        broken(built, "registry", "serving/model.onnx")
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("place", ["digest", "version", "name", "layout"])
def test_a_changed_pin(built: Project, place: str) -> None:
    path = built.root / "pins/tiny.json"
    whole = path.read_bytes()
    pin = json.loads(whole)
    changed = {
        "digest": whole.replace(pin["digest"][:4].encode(), b"0000"),
        "version": whole.replace(b'"version": 1', b'"version": 3'),
        "name": whole.replace(b'"tiny"', b'"tinz"'),
        "layout": whole.replace(b"\n}", b" }"),
    }[place]
    assert changed != whole
    path.write_bytes(changed)
    try:
        broken(built, "pins/tiny.json" if place != "digest" else "0000")
    finally:
        path.write_bytes(whole)


def test_changed_data(built: Project) -> None:
    with flipped(built.root / "data/raw/tiny/red/000.jpg"):
        done = built.pipeline("trace", "tiny")
        assert done.returncode == 1
        assert "broken at data" in done.stderr
        assert "data/raw/tiny" in done.stderr


def test_a_registry_that_does_not_answer(built: Project) -> None:
    done = built.pipeline("trace", "tiny", MLFLOW_TRACKING_URI="http://user:secret@127.0.0.1:9")
    assert done.returncode == 1
    assert "broken at registry" in done.stderr
    assert "does not answer" in done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_an_up_to_date_lock_is_told_without_data(built: Project, tmp_path: Path) -> None:
    clone = built.clone(tmp_path / "clone")
    done = clone.pipeline("stale")
    assert (done.returncode, done.stdout) == (0, "dvc.lock is up to date\n")
    assert not (clone.root / "models").exists()


@pytest.mark.parametrize(
    ("file", "before", "after", "named"),
    [
        ("params.yaml", "seed: 1", "seed: 2", ["build@tiny", "tiny.build"]),
        (
            "pipeline/stages/prepare.py",
            "counts = ",
            "counted = ",
            ["prepare@tiny", "pipeline/stages/prepare.py"],
        ),
        (
            "serving/model/decoder.py",
            "MIN_SIDE = 8",
            "MIN_SIDE = 9",
            ["prepare@tiny", "evaluate@tiny", "serving/model/decoder.py"],
        ),
        (
            "dvc.yaml",
            "cmd: python -m pipeline.stages.export",
            "cmd: python -B -m pipeline.stages.export",
            ["export@tiny", "command"],
        ),
    ],
)
def test_a_stale_lock_is_told_without_data(
    built: Project, tmp_path: Path, file: str, before: str, after: str, named: list[str]
) -> None:
    clone = built.clone(tmp_path / "clone")
    path = clone.root / file
    path.write_text(path.read_text().replace(before, after))
    done = clone.pipeline("stale", "tiny")
    assert done.returncode == 1
    for words in [*named, "out of date"]:
        assert words in done.stdout


def test_history_lists_who_pinned_what(built: Project) -> None:
    done = built.pipeline("history", "tiny")
    assert done.returncode == 0
    assert "version 1" in done.stdout
    assert "test@example.org" in done.stdout
    assert json.loads((built.root / "pins/tiny.json").read_text())["digest"] in done.stdout


def test_there_is_nothing_to_go_back_to(built: Project) -> None:
    done = built.pipeline("rollback", "tiny")
    assert done.returncode == 1
    assert "no earlier pin" in done.stderr
    assert built.changes() == ""


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
def test_an_unknown_model_is_named(built: Project, verb: str, model: str, words: str) -> None:
    done = built.pipeline(verb, model)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert built.changes() == ""


def test_a_damaged_report_is_named(built: Project) -> None:
    path = built.root / "reports/tiny/metrics.json"
    try:
        path.write_text("{")
        done = built.pipeline("promote", "tiny")
        assert done.returncode == 1
        assert "reports/tiny/metrics.json is not as it was written" in done.stderr
        path.unlink()
        assert "reports/tiny/metrics.json: deleted" in built.pipeline("stale", "tiny").stdout
    finally:
        built.succeed("git", "checkout", "-q", ".")
