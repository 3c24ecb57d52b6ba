"""Which commit a report compares with, and the sentence that says so."""

import re
from dataclasses import dataclass

from pipeline.markdown import code
from pipeline.report import repository

# GitHub checks a pull request out with the first and without the second; on a laptop `main` may be old.
DEFAULTS = ("origin/main", "main")
# What a report shows; other changes of the workspace do not make it another state.
SHOWN = ("params.yaml", "pins", "reports")
# A name in which neither Markdown nor GitHub sees more than text.
HARMLESS = r"(?!www\.)[A-Za-z0-9][A-Za-z0-9/._-]{0,39}"


@dataclass(frozen=True)
class Base:
    """The commit, what it is called in headings, and why it was taken; or why there is none."""

    commit: str | None
    name: str
    said: str


def find(against: str | None) -> Base:
    """Where this branch left `against`; on that branch itself, what was there before the last change."""
    head = repository.commit("HEAD")
    if head is None:
        return _none("this folder has no commit that git can read")
    wanted = (against,) if against else DEFAULTS
    name = next((name for name in wanted if repository.commit(name)), None)
    if name is None:
        return _none(f"git knows no {' and no '.join(map(code, wanted))} here; AGAINST names another branch")
    fork = repository.ancestor("HEAD", name)
    if fork is None:
        return _none(
            f"git finds nothing that this and {code(name)} have in common. "
            "In a shallow clone, `git fetch --unshallow` brings the history"
        )
    if fork == head:
        return _on_the_branch(head, name)
    return Base(fork, _heading(name), f"Compared with {code(name)} at {short(fork)}.")


def _on_the_branch(head: str, name: str) -> Base:
    """This is `name` itself, or has no commit of its own yet."""
    if repository.changed(SHOWN):
        return Base(head, _heading(name), f"Compared with the last commit, {short(head)}.")
    last = next(iter(repository.touched("reports", first_parent=True)), None)
    before = last and repository.commit(f"{last}^1")
    if not last or not before:
        return _none(f"this is {code(name)}, and git has nothing from before its reports")
    said = f"Compared with {short(before)}, what was there before {short(last)} changed the reports."
    return Base(before, before[:8], said)


def _heading(name: str) -> str:
    """A branch as columns are called."""
    last = name.removeprefix("origin/")
    return last if re.fullmatch(HARMLESS, last) else "base"


def short(commit: str) -> str:
    """A commit as people read it."""
    return code(commit[:10])


def _none(reason: str) -> Base:
    return Base(None, "main", f"Compared with nothing: {reason}.")
