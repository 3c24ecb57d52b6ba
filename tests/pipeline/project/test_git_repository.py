"""Outside a git repository, as in an unpacked zip file, the error says how to create one."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import RepositoryMissing
from pipeline.project.git_repository import require_repository
from tests.pipeline.projects import AUTHOR, ROOT, TINY, Project


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with params and photos that is not a git repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    Path("params.yaml").write_text(TINY)
    Path("data/raw/pets").mkdir(parents=True)
    return Project(tmp_path, AUTHOR | {"PYTHONPATH": str(ROOT)})


def test_run_says_git_init_and_changes_nothing(download: Project) -> None:
    done = download.pipeline("run", "pets")
    assert done.returncode == 1
    assert "git init && git add -A && git commit" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (download.root / "params.yaml").read_text() == TINY


def test_the_commands_of_the_error_work(download: Project) -> None:
    with pytest.raises(RepositoryMissing, match="git init"):
        require_repository()
    download.succeed("git", "init", "-q")
    with pytest.raises(RepositoryMissing, match=r"Run once: `git add -A && git commit"):
        require_repository()
    download.succeed("sh", "-c", 'git add -A && git commit -q -m "Begin"')
    require_repository()


def test_without_git_it_says_so(download: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(download.root))
    with pytest.raises(RepositoryMissing, match="git is not installed"):
        require_repository()


def test_make_hands_a_name_with_spaces_over_whole() -> None:
    """An unquoted name would become two arguments, and the error would not mention the name."""
    shown = subprocess.run(
        ["make", "-n", "run", "MODEL=my pets"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 'pipeline run "my pets"' in shown.stdout
