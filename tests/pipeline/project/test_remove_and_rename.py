"""`remove` and `rename` change everything that belongs to a model, and nothing of other models."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline import params
from pipeline.__main__ import main
from pipeline.project import yaml_edits
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.promotion import promote
from pipeline.registry.registration import ensure_registered
from tests.pipeline.candidate_bundle import LAYOUT, write_candidate
from tests.pipeline.projects import ROOT, TINY, Project

PARAMS = (ROOT / "params.yaml").read_text()
LOCK = (ROOT / "dvc.lock").read_text()


@pytest.fixture
def whole(project: Project, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a pinned `tiny`, its photos and a `dvc.lock`, beside another model."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    section = TINY.partition("tiny:\n")[2]
    text = f"models: [tiny, other]\n\n# A tiny one.\ntiny:\n{section}\n# Another one.\nother:\n{section}"
    Path("params.yaml").write_text(text)
    photo = Path("data/raw/tiny/red/0.jpg")
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"photo")
    shutil.copytree("data/raw/tiny", "data/raw/other")
    shutil.copytree("data/raw/tiny", "data/foreign/tiny")
    lock = yaml_edits.rename_stages(LOCK, "digits", "tiny")
    Path("dvc.lock").write_text(lock + LOCK.partition("stages:\n")[2].replace("digits", "other"))
    write_candidate()
    promote(LAYOUT, registry, ensure_registered(LAYOUT, registry))
    LAYOUT.signature.write_bytes(b"a signature")
    project.commit("all there is")
    return project


def everything() -> dict[str, bytes]:
    found = (path for path in Path().rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path): path.read_bytes() for path in found if not path.name.startswith("mlflow.db")}


def test_nothing_is_removed_without_consent(
    whole: Project, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything()
    assert main(["remove", "tiny"]) == 1
    said = capsys.readouterr()
    for words in (
        "remove  params.yaml: its section, and its entry in `models`",
        "remove  data/raw/tiny (1 files that neither git nor DVC keeps: there is no way back)",
        "remove  data/foreign/tiny (1 files that neither git nor DVC keeps: there is no way back)",
        "remove  data/prepared/tiny",
        "remove  models/tiny",
        "remove  reports/tiny",
        "remove  pins/tiny.json",
        "remove  pins/tiny.sig",
        "remove  dvc.lock: its stages",
        "the registered model with 1 versions",
    ):
        assert words in said.out
    assert "python -m pipeline remove tiny --yes" in said.err
    assert everything() == before
    assert len(registry.list_versions("tiny")) == 1


def test_all_that_belongs_to_a_model_is_removed(
    whole: Project, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remove", "tiny", "--yes"]) == 0
    said = capsys.readouterr().out
    for words in ("dvc gc", "mlflow gc", "git's history"):
        assert words in said
    assert params.load().models == ("other",)
    assert set(params.load().sections) == {"other"}
    text = Path("params.yaml").read_text()
    assert "# Another one.\nother:" in text
    assert "tiny" not in text
    assert {stage.partition("@")[2] for stage in yaml.safe_load(Path("dvc.lock").read_text())["stages"]} == {
        "other"
    }
    assert not [path for path in everything() if "tiny" in Path(path).parts or path.startswith("pins/tiny")]
    assert Path("data/raw/other/red/0.jpg").exists()
    assert registry.list_versions("tiny") == []
    # A second call finds no model, and the name can be used again.
    assert main(["remove", "tiny", "--yes"]) == 1
    assert "no model 'tiny'" in capsys.readouterr().err
    Path("params.yaml").write_text(TINY)
    write_candidate()
    assert ensure_registered(LAYOUT, registry).number == 1


@pytest.mark.parametrize("name", ["..", "../data", "models", "", ".", "tiny/../other"])
def test_no_other_folder_is_removed(whole: Project, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything()
    assert main(["remove", name, "--yes"]) == 1
    assert "There is no model" in capsys.readouterr().err
    assert everything() == before


def test_a_registry_that_is_down_removes_nothing(
    whole: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["remove", "tiny", "--yes"]) == 1
    assert main(["rename", "tiny", "pets"]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert everything() == before


def test_a_renamed_model_keeps_what_does_not_depend_on_its_name(
    whole: Project, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("models/tiny/build").mkdir(parents=True)
    Path("models/tiny/build/model.keras").write_bytes(b"trained")
    assert main(["rename", "tiny", "pets"]) == 0
    said = capsys.readouterr().out
    assert "kept: 1 versions of tiny" in said
    assert "`make run MODEL=pets`" in said
    assert params.load().models == ("pets", "other")
    assert "# A tiny one.\npets:" in Path("params.yaml").read_text()
    assert Path("data/raw/pets/red/0.jpg").exists()
    assert Path("data/prepared/pets/report.json").exists()
    assert Path("models/pets/build/model.keras").read_bytes() == b"trained"
    assert not [path for path in everything() if "tiny" in Path(path).parts or path.startswith("pins/tiny")]
    stages = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    assert {stage for stage in stages if not stage.endswith("@other")} == {"prepare@pets", "build@pets"}
    assert registry.client.get_registered_model("tiny").tags == {"renamed_to": "pets"}


def test_dvc_agrees(built: Project, tmp_path: Path) -> None:
    """DVC does not prepare or train again under the new name, and accepts a project without models."""
    copy = Project(tmp_path / "copy", built.environment)
    shutil.copytree(built.root, copy.root, ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    assert copy.pipeline("rename", "tiny", "pets").returncode == 0
    changed = json.loads(copy.succeed("dvc", "status", "--json").splitlines()[-1])
    assert set(changed) == {"export@pets", "evaluate@pets", "register@pets"}
    assert copy.pipeline("remove", "pets", "--yes").returncode == 0
    assert json.loads(copy.succeed("dvc", "status", "--json").splitlines()[-1]) == {}


def test_photos_that_dvc_keeps_are_renamed_too(whole: Project) -> None:
    whole.succeed("dvc", "init", "-q")
    for model in ("tiny", "other"):
        whole.succeed("git", "rm", "-q", "-r", "--cached", "--ignore-unmatch", f"data/raw/{model}")
    Path(".gitignore").write_text("/models\n/reports\n/mlflow.db*\n/mlartifacts\n")
    whole.succeed("dvc", "add", "-q", "data/raw/tiny", "data/raw/other")
    assert main(["rename", "tiny", "pets"]) == 0
    assert Path("data/raw/.gitignore").read_text().splitlines() == ["/pets", "/other"]
    assert not Path("data/raw/tiny.dvc").exists()
    assert json.loads(whole.succeed("dvc", "status", "--json", "data/raw/pets.dvc").splitlines()[-1]) == {}
    assert main(["remove", "pets", "--yes"]) == 0
    assert Path("data/raw/.gitignore").read_text().splitlines() == ["/other"]
    assert not Path("data/raw/pets.dvc").exists()


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("Pets", "small letters"),
        ("../x", "small letters"),
        ("models", "small letters"),
        ("other", "a section of that name"),
        ("tiny", "a section of that name"),
        ("taken", "data/raw/taken is there already"),
    ],
)
def test_a_name_that_cannot_be_taken_changes_nothing(
    whole: Project, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/raw/taken").mkdir()
    before = everything()
    assert main(["rename", "tiny", new]) == 1
    assert words in capsys.readouterr().err
    assert everything() == before


def test_the_lock_is_that_of_the_new_name() -> None:
    renamed = yaml_edits.rename_stages(LOCK, "digits", "numbers")
    # Only the name differs.
    assert re.sub(r"\bnumbers\b", "digits", renamed) == LOCK
    # The description in the params is not changed.
    assert re.findall(r".*\bdigits\b.*", renamed) == re.findall(r".* digits 0 to 9.*", LOCK)
    assert yaml_edits.rename_stages(LOCK, "digit", "x") == LOCK
    assert yaml.safe_load(yaml_edits.remove_stages(LOCK, "digits"))["stages"] == {}


def test_other_sections_keep_their_comments() -> None:
    for model, other in (("digits", "imagenet"), ("imagenet", "digits")):
        text = yaml_edits.remove_section(PARAMS, model)
        kept = [line for line in text.splitlines() if line.strip()]
        assert set(kept) - set(PARAMS.splitlines()) <= {"models: []"}
        sections = yaml.safe_load(text)
        assert sections.pop("models") == ([] if model == "digits" else ["digits"])
        assert sections == {other: yaml.safe_load(PARAMS)[other]}
    assert "# The tutorial's model" in yaml_edits.remove_section(PARAMS, "digits")
    assert "# A small MobileNetV2" not in yaml_edits.remove_section(PARAMS, "digits")
