"""Selects the commit that a report compares with."""

import re
from dataclasses import dataclass

from pipeline.markdown import code
from pipeline.report import git_history
from pipeline.report.formatting import short_commit

# In CI only origin/main exists; in a local clone `main` may be behind it.
DEFAULT_BRANCHES = ("origin/main", "main")
# Uncommitted changes elsewhere do not affect the report.
REPORTED_PATHS = ("params.yaml", "pins", "reports")
# Branch names that Markdown and GitHub show as plain text, without mentions or links.
SAFE_NAME = r"(?!www\.)[A-Za-z0-9][A-Za-z0-9/._-]{0,39}"


@dataclass(frozen=True)
class ComparisonBase:
    """`name` is used in column headings; `explanation` states why this commit was chosen, or why none was."""

    commit: str | None
    name: str
    explanation: str


def find_base(against: str | None) -> ComparisonBase:
    """The merge base of HEAD and `against`; on `against` itself, the commit before the last change."""
    head = git_history.resolve("HEAD")
    if head is None:
        return _no_base("this folder has no commit that git can read")
    candidates = (against,) if against else DEFAULT_BRANCHES
    branch = next((name for name in candidates if git_history.resolve(name)), None)
    if branch is None:
        return _no_base(
            f"git finds no {' and no '.join(map(code, candidates))} here; set AGAINST to another branch"
        )
    fork = git_history.merge_base("HEAD", branch)
    if fork is None:
        return _no_base(
            f"git finds no common ancestor of HEAD and {code(branch)}. "
            "In a shallow clone, `git fetch --unshallow` fetches the history"
        )
    if fork == head:
        return _base_on_branch(head, branch)
    return ComparisonBase(fork, _heading(branch), f"Compared with {code(branch)} at {short_commit(fork)}.")


def _base_on_branch(head: str, branch: str) -> ComparisonBase:
    """The base where HEAD is part of `branch`: HEAD, or the commit before the reports last changed."""
    if git_history.has_changes(REPORTED_PATHS):
        return ComparisonBase(head, _heading(branch), f"Compared with the last commit, {short_commit(head)}.")
    last = next(iter(git_history.commits_changing("reports", first_parent=True)), None)
    before = last and git_history.resolve(f"{last}^1")
    if not last or not before:
        return _no_base(f"HEAD is on {code(branch)}, and git has no commit from before its reports")
    text = f"{short_commit(before)}, the commit before {short_commit(last)} changed the reports"
    return ComparisonBase(before, before[:8], f"Compared with {text}.")


def _heading(branch: str) -> str:
    name = branch.removeprefix("origin/")
    return name if re.fullmatch(SAFE_NAME, name) else "base"


def _no_base(reason: str) -> ComparisonBase:
    return ComparisonBase(None, "main", f"Compared with nothing: {reason}.")
