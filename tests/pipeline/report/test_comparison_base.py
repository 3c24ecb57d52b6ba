"""The commit that a report compares with: the merge base with main, or the reason why there is none."""

from pathlib import Path

import pytest

from pipeline.report import git_history
from pipeline.report.comparison_base import find_base
from tests.pipeline.evaluated_models import EvaluatedModel, create_repository
from tests.pipeline.projects import AUTHOR, Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with one commit on main, which is the current directory."""
    project = create_repository(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


def measure(project: Project, version: str) -> str:
    """Writes and commits the reports of another version; returns the commit's hash."""
    EvaluatedModel(version).write(project.root)
    return commit(project, version)


def commit(project: Project, message: str) -> str:
    project.commit(message)
    return head(project)


def head(project: Project, name: str = "HEAD") -> str:
    return project.succeed("git", "rev-parse", name).strip()


def test_a_branch_is_compared_with_where_it_left_main(project: Project) -> None:
    fork = head(project)
    project.succeed("git", "switch", "-q", "-c", "change")
    measure(project, "new")
    project.succeed("git", "switch", "-q", "main")
    measure(project, "meanwhile")
    project.succeed("git", "switch", "-q", "change")
    found = find_base(None)
    assert (found.commit, found.name) == (fork, "main")
    assert found.explanation == f"Compared with `main` at `{fork[:10]}`."


def test_origin_comes_before_a_main_that_may_be_old(project: Project, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone")
    newer = measure(project, "newer")
    clone.succeed("git", "fetch", "-q")
    clone.succeed("git", "switch", "-q", "-c", "change", "origin/main")
    clone.commit("change")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone.root)
        found = find_base(None)
    assert (found.commit, found.name) == (newer, "main")
    assert "`origin/main`" in found.explanation


def test_a_merge_that_github_checks_out_is_compared_with_main(project: Project) -> None:
    project.succeed("git", "switch", "-q", "-c", "change")
    measure(project, "new")
    project.succeed("git", "switch", "-q", "main")
    main = commit(project, "meanwhile")
    project.succeed("git", "switch", "-q", "--detach")
    project.succeed("git", "merge", "-q", "--no-edit", "change")
    assert find_base("main").commit == main


def test_on_main_a_change_that_is_not_committed_is_compared_with_the_last_commit(project: Project) -> None:
    last = measure(project, "old")
    EvaluatedModel("new").write(project.root)
    found = find_base(None)
    assert (found.commit, found.name) == (last, "main")
    assert "the last commit" in found.explanation


def test_on_main_the_last_change_of_reports_is_shown(project: Project) -> None:
    before = measure(project, "old")
    last = measure(project, "new")
    (project.root / "notes.txt").write_text("of something else")
    project.commit("notes")
    found = find_base(None)
    assert (found.commit, found.name) == (before, before[:8])
    assert f"the commit before `{last[:10]}` changed the reports" in found.explanation


def test_on_main_a_merge_is_one_change(project: Project) -> None:
    before = measure(project, "old")
    project.succeed("git", "switch", "-q", "-c", "change")
    measure(project, "first try")
    measure(project, "second try")
    project.succeed("git", "switch", "-q", "main")
    project.succeed("git", "merge", "-q", "--no-ff", "--no-edit", "change")
    assert find_base(None).commit == before


def test_the_first_reports_have_nothing_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "first"
    root.mkdir()
    project = Project(root, AUTHOR)
    project.succeed("git", "init", "-q", "-b", "main")
    measure(project, "first")
    monkeypatch.chdir(root)
    assert find_base(None).commit is None
    assert "no commit from before its reports" in find_base(None).explanation


def test_a_missing_branch_is_named(project: Project) -> None:
    assert (
        find_base("nowhere").explanation
        == "Compared with nothing: git finds no `nowhere` here; set AGAINST to another branch."
    )
    project.succeed("git", "branch", "-q", "-m", "trunk")
    assert "no `origin/main` and no `main`" in find_base(None).explanation


@pytest.mark.parametrize("name", ["--all", "-h", "", "HEAD:params.yaml", "a b", "main\n"])
def test_a_name_that_is_no_commit_is_none(project: Project, name: str) -> None:
    assert git_history.resolve(name) is None


def test_a_folder_without_git_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no commit that git can read" in find_base(None).explanation
    Project(tmp_path).succeed("git", "init", "-q", "-b", "main")
    assert "no commit that git can read" in find_base(None).explanation


def test_a_machine_without_git_is_reported(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project.root))
    assert "no commit that git can read" in find_base(None).explanation


def test_a_shallow_clone_is_reported(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.succeed("git", "switch", "-q", "-c", "change")
    measure(project, "new")
    shallow = tmp_path / "shallow"
    options = ["--depth=1", "--no-single-branch", "--branch=change"]
    project.succeed("git", "clone", "-q", *options, project.root.as_uri(), str(shallow))
    monkeypatch.chdir(shallow)
    assert find_base(None).commit is None
    assert "git fetch --unshallow" in find_base(None).explanation


@pytest.mark.parametrize("name", ["<img>", "a|b`c", "@someone", "www.example.org", "x" * 50])
def test_a_branch_name_that_markdown_could_interpret_is_shown_as_base(project: Project, name: str) -> None:
    project.succeed("git", "branch", name)
    measure(project, "new")
    found = find_base(name)
    assert (found.commit, found.name) == (head(project, "HEAD^"), "base")


def test_a_project_may_be_a_folder_of_a_repository(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.root / "inside"
    folder.mkdir()
    (folder / "params.yaml").write_text("models: [inner]\n")
    project.commit("a folder")
    monkeypatch.chdir(folder)
    assert git_history.read_file("HEAD", Path("params.yaml")) == b"models: [inner]\n"
    assert git_history.commits_changing("params.yaml") == [head(project)]
    assert git_history.has_changes(["params.yaml"]) is False
