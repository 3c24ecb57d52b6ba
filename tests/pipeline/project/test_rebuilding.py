"""`rebuild` builds the last commit in a temporary clone and compares it with the pin, file by file."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import h5py
import pytest

from pipeline.errors import CommitBuildsAnother, RebuildDiffers
from pipeline.files import sha256_of
from pipeline.layout import Layout
from pipeline.project import rebuilding
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.pin import Pin
from serving.errors import PinMissing
from tests.pipeline.projects import Project

LAYOUT = Layout("tiny")


class Builds:
    """Takes the place of `dvc repro`, which takes half a minute: the clone gets what was built before."""

    def __init__(self, built: Project) -> None:
        self.built = built.root
        self.arguments: tuple[str, ...] = ()
        self.changed: dict[str, bytes] = {}

    def __call__(self, *arguments: str, folder: Path) -> None:
        self.arguments = arguments
        assert not (folder / "models").exists()
        assert (folder / "data/raw/tiny/red").is_dir()
        shutil.copytree(self.built / "models", folder / "models")
        for name, data in self.changed.items():
            (folder / name).write_bytes(data)
        if any(name.startswith("models/") for name in self.changed):
            manifest = folder / LAYOUT.bundle / "manifest.json"
            document = json.loads(manifest.read_bytes())
            for name, entry in document["files"].items():
                entry["sha256"] = sha256_of(folder / LAYOUT.bundle / name)
            manifest.write_bytes(to_json(document))


@pytest.fixture
def builds(inside_built: Project, monkeypatch: pytest.MonkeyPatch) -> Builds:
    made = Builds(inside_built)
    monkeypatch.setattr(rebuilding, "dvc_repro", made)
    return made


def test_equal_bytes_are_said_in_one_line(builds: Builds, capsys: pytest.CaptureFixture[str]) -> None:
    rebuilding.rebuild(LAYOUT)
    bundle = Bundle.open(LAYOUT.bundle)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"equal: tiny {bundle.digest[:12]}, built again from commit ")
    assert f"{len(bundle.manifest.files)} files of the bundle" in line
    assert builds.arguments == ("--force", "evaluate@tiny")


def test_what_differs_is_listed(builds: Builds, capsys: pytest.CaptureFixture[str]) -> None:
    source = LAYOUT.bundle / "data/model.keras"
    metrics = json.loads(LAYOUT.metrics.read_bytes())
    builds.changed = {
        str(source): with_another_weight(source.read_bytes()),
        str(LAYOUT.metrics): json.dumps(metrics | {"top1": 0.5}).encode(),
    }
    with pytest.raises(RebuildDiffers, match=r"^different: tiny .* with the digest .*; 3 files differ, see"):
        rebuilding.rebuild(LAYOUT)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"differs  reports/tiny/metrics.json: top1 is 0.5 instead of {metrics['top1']}"
    assert lines[1].startswith("differs  models/tiny/bundle/data/model.keras: 1 of ")
    assert "by up to 1, which is in " in lines[1]
    assert lines[2].startswith("differs  models/tiny/bundle/manifest.json: files.data/model.keras.sha256 is")


def with_another_weight(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    weights = io.BytesIO(members["model.weights.h5"])
    names: list[str] = []
    with h5py.File(weights, "r+") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        file[names[0]][...] += 1
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        for name, data in {**members, "model.weights.h5": weights.getvalue()}.items():
            written.writestr(name, data)
    return target.getvalue()


def test_a_commit_that_builds_another_bundle_is_not_built(inside_built: Project) -> None:
    before = inside_built.succeed("git", "rev-parse", "HEAD").strip()
    try:
        LAYOUT.pin.write_bytes(Pin("tiny", 7, "0" * 64).to_bytes())
        inside_built.commit("rolled back")
        with pytest.raises(CommitBuildsAnother, match=r"names 000000000000, and .*metrics.json describes"):
            rebuilding.rebuild(LAYOUT)
        LAYOUT.pin.unlink()
        inside_built.commit("nothing is pinned")
        with pytest.raises(PinMissing, match="the last commit pins nothing"):
            rebuilding.rebuild(LAYOUT)
    finally:
        inside_built.succeed("git", "reset", "-q", "--hard", before)


# Slow: it builds everything again, 40 s.
@pytest.mark.slow
def test_the_command_builds_the_same_bytes(built: Project) -> None:
    (built.root / "mlflow.db").touch()
    done = built.run("make", "--silent", "rebuild", "MODEL=tiny", "--assume-old=.venv/.pipeline")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("equal: tiny ")
    assert built.changes() == ""
