"""`python -m pipeline report`: its files, its output and its errors."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.pipeline.evaluated_models import EvaluatedModel, create_released, create_repository
from tests.pipeline.projects import Project, copy_of_the_working_tree


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of this project with a branch on which one more prediction is wrong."""
    project = copy_of_the_working_tree(tmp_path_factory.mktemp("report") / "project")
    project.succeed("git", "switch", "-q", "-c", "change")
    path = project.root / "reports/digits/predictions.csv"
    lines = path.read_text().splitlines()
    image, actual, *_ = lines[1].split(",")
    lines[1] = f"{image},{actual},8,0.9000,2"
    path.write_text("\n".join(lines) + "\n")
    project.commit("an edit by hand")
    return project


def test_the_committed_reports_can_be_read(copy: Project) -> None:
    done = copy.pipeline("report")
    assert done.returncode == 0, done.stderr
    assert copy.changes() == "", "git ignores the report's files"
    text = (copy.root / "report.md").read_text(encoding="utf-8")
    metrics = json.loads((copy.root / "reports/digits/metrics.json").read_text())
    assert f"top-1 {metrics['top1']:.1%}".replace("%", " %") in text
    assert "1 lost, 0 gained" in text
    assert metrics["digest"] in text
    # dvc.lock has the digest of the file that `evaluate` wrote, so the edit is detected.
    assert "⚠️ **digits: out of date.**" in text
    assert "reports/digits/predictions.csv: modified" in text
    assert done.stdout.startswith("⚠️ digits: out of date. top-1")
    assert "report.md: " in done.stdout


def test_on_one_commit_there_is_nothing_to_compare_with(copy: Project, tmp_path: Path) -> None:
    copy.succeed("git", "switch", "-q", "--detach", "main")
    try:
        done = copy.pipeline("report", "--without-pictures")
        text = (copy.root / "report.md").read_text(encoding="utf-8")
    finally:
        copy.succeed("git", "switch", "-q", "change")
    assert done.returncode == 0, done.stderr
    assert text.startswith("## Model report\n\n✅ **digits: passed.** top-1 ")
    assert "Compared with nothing: HEAD is on `main`" in text


def test_without_reports_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(create_repository(tmp_path / "project").root)
    assert main(["report"]) == 1
    assert "reports/tiny/metrics.json does not exist. `dvc repro register@tiny`" in capsys.readouterr().err
    assert not Path("report.md").exists()
    Path("params.yaml").write_text("models: []\n")
    assert main(["report"]) == 1
    assert "params.yaml cannot be used" in capsys.readouterr().err


def test_a_model_without_reports_does_not_stop_the_report_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(create_repository(tmp_path / "project", ("tiny", "other")).root)
    EvaluatedModel("first").write(Path.cwd())
    assert main(["report"]) == 0
    text = Path("report.md").read_text()
    assert (
        "⚠️ **other: not measured.** There is no `reports/other/metrics.json`; `make run MODEL=other`" in text
    )
    assert "✅ **tiny: passed.**" in text


def test_without_git_and_dvc_the_figures_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = create_released(tmp_path / "project", EvaluatedModel("only")).root
    for folder in (".git", ".dvc"):
        shutil.rmtree(root / folder)
    monkeypatch.chdir(root)
    assert main(["report"]) == 0
    text = Path("report.md").read_text()
    assert "✅ **tiny: passed.** top-1 100.0 %" in text
    assert "Compared with nothing: this folder has no commit that git can read." in text
    assert "`python -m pipeline stale` shows why" in text


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("metrics.json", b"{"),
        ("metrics.json", b"[]"),
        ("metrics.json", b'{"digest": NaN}'),
        ("metrics.json", b"[" * 100_000),
        ("predictions.csv", b"image\nx\n"),
        ("predictions.csv", b"\xff\xfe"),
        ("predictions.csv", b"image,actual,predicted,confidence\na,b,c,7\n"),
        ("classes.csv", b'name,images,recall,precision\n"' + b"x" * 200_000 + b'",1,1,1\n'),
        ("data.json", b"{}"),
    ],
)
def test_damaged_reports_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, data: bytes
) -> None:
    project = create_released(tmp_path / "project", EvaluatedModel("old"))
    monkeypatch.chdir(project.root)
    (Path("reports/tiny") / path).write_bytes(data)
    assert main(["report", "--without-pictures"]) == 0
    assert f"**tiny: not measured.** `reports/tiny/{path} is not as it was" in Path("report.md").read_text()


def test_damaged_reports_at_the_commit_compared_with_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = create_released(tmp_path / "project", EvaluatedModel("old"))
    monkeypatch.chdir(project.root)
    Path("reports/tiny/metrics.json").write_bytes(b"{")
    project.commit("damaged")
    EvaluatedModel("new").write(project.root)
    assert main(["report", "--against", "HEAD"]) == 0
    assert "the reports of this model cannot be read." in Path("report.md").read_text()


CONFLICT = b"""{
<<<<<<< HEAD
 "digest": "%b",
=======
 "digest": "%b",
>>>>>>> other
 "name": "tiny",
 "version": 1
}
"""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (CONFLICT % (b"a" * 64, b"b" * 64), "marks of a merge conflict, which nobody has resolved"),
        (b"{}\n", "KeyError"),
        (b"", "JSONDecodeError"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_a_pin_that_cannot_be_read_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, words: str, there: bool
) -> None:
    project = create_released(tmp_path / "project", EvaluatedModel("old"))
    monkeypatch.chdir(project.root)
    pin = Path("pins/tiny.json")
    whole = pin.read_bytes()
    pin.write_bytes(data)
    if there:
        project.commit("by hand")
        pin.write_bytes(whole)
    assert main(["report", *(["--against", "HEAD"] if there else [])]) == 0
    text = Path("report.md").read_text()
    assert "⚠️ **tiny: passed, but a pin cannot be read.**" in text
    assert "What this change pins is unknown: `pins/tiny.json` is invalid" in text
    assert "removes the pin" not in text
    assert "nothing was pinned before" not in text
    assert (words in text) is not there


def test_latency_and_what_the_gate_compared_with_are_of_this_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = EvaluatedModel("old")
    monkeypatch.chdir(create_released(tmp_path / "project", measured).root)
    latency = {"decode_ms_p50": 0.1, "total_ms_p50": 1.25, "total_ms_p95": 2.5}
    said = "NOT compared with the pinned version: the registry has none"
    for digest, seen in ((measured.digest, True), ("e" * 64, False)):
        document = {"digest": digest, "latency": latency, "against_pinned": said}
        Path("reports/tiny/machine.json").write_text(json.dumps(document))
        assert main(["report"]) == 0
        text = Path("report.md").read_text()
        assert ("1.2 ms median, 2.5 ms 95th percentile" in text) is seen
        assert (f"- The gate on this machine: `{said}`" in text) is seen
        assert ("not measured here" in text) is not seen


def test_a_report_that_fails_leaves_the_last_one_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = create_released(tmp_path / "project", EvaluatedModel("old"))
    monkeypatch.chdir(project.root)
    EvaluatedModel("new", {"000/000.png": ("dog", 0.8)}).write(project.root)
    assert main(["report"]) == 0
    before = Path("report.md").read_bytes(), sorted(Path("report").iterdir())
    Path("params.yaml").write_text("models: [tiny, tiny]\n")
    assert main(["report"]) == 1
    assert (Path("report.md").read_bytes(), sorted(Path("report").iterdir())) == before
    assert not list(Path().glob(".report*"))
