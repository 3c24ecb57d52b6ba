"""Writes the report of a change.

Reads `reports/`, `pins/`, `params.yaml` and, where they are there, bundles and test images; and the same
small files at the commit to compare with.
Writes `report.md`, and the pictures that it links to into `report/`.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipeline import params
from pipeline.errors import CommandFailed, InputMissing, ParamsInvalid
from pipeline.files import replace_folder, write
from pipeline.layout import Layout
from pipeline.markdown import code
from pipeline.project.staleness import stale_reasons
from pipeline.report import artifact, changes, repository
from pipeline.report.base import Base, find
from pipeline.report.classes import classes
from pipeline.report.comparison import Difference, differences, flat
from pipeline.report.figures import figures
from pipeline.report.gathering import gather
from pipeline.report.illustration import FOLDER, Illustrations, illustrate
from pipeline.report.page import Section, linked, page
from pipeline.report.subject import Subject
from pipeline.report.verdict import unmeasured, verdict
from pipeline.report.wording import count
from pipeline.yaml_validation import parse_yaml

PAGE = Path("report.md")
# What an unchanged model says gives way to anything that a changed one has to say.
UNCHANGED = -100
# Models whose pictures are drawn, which takes a second for each.
DRAWN, UNDRAWN = 8, "Pictures are drawn of the first eight models that have changed."
UNCHECKED = "DVC does not say here whether `dvc.lock` is out of date: `python -m pipeline stale` tells why."


def main(against: str | None = None, pictures: bool = True) -> None:
    """Compares all models of params.yaml with the commit where this branch left `against`."""
    models = params.load().models
    if not models:
        raise ParamsInvalid(params.PARAMS_FILE, ["models: empty, so there is nothing to report"])
    if not any(Layout(model).metrics.exists() for model in models):
        raise InputMissing(Layout(models[0]).metrics, models[0])
    base = find(against)
    reasons = _stale()
    found = {model: gather(Layout(model), base, _of(model, reasons or [])) for model in models}
    verdicts = {
        model: verdict(it) if isinstance(it, Subject) else unmeasured(model, it)
        for model, it in found.items()
    }
    # What wants attention comes first, and so keeps its sections and pictures longest.
    order = sorted(models, key=lambda model: verdicts[model].mood)
    foot = _foot(against, pictures)
    with replace_folder(FOLDER) as folder:
        subjects = [it for model in order if isinstance(it := found[model], Subject)]
        sections = list(_sections(subjects, base, folder if pictures else None))
        compared = base.said if reasons is not None else f"{base.said} {UNCHECKED}"
        text = page([verdicts[model] for model in order], compared, sections, foot)
    write(PAGE, text.encode())
    for model in order:
        print(verdicts[model].line.replace("**", "").replace("`", ""))
    print(f"{PAGE}: {len(text):,} characters, {count(linked(text), 'picture')}")


def _stale() -> list[str] | None:
    """Why dvc.lock is out of date; `None` where DVC does not answer."""
    try:
        return stale_reasons()
    except CommandFailed:
        return None


def _of(model: str, reasons: Sequence[str]) -> list[str]:
    """The reasons of one model's stages, such as `build@digits: changed deps, ...`.

    Whether it was registered, which CI does on main alone, says nothing about the figures.
    """
    stages = [(reason.partition(": ")[0], reason) for reason in reasons]
    return [
        said for stage, said in stages if stage.endswith(f"@{model}") and not stage.startswith("register@")
    ]


def _sections(subjects: Sequence[Subject], base: Base, folder: Path | None) -> Iterator[Section]:
    """All that there is to say, model by model."""
    changed = _params(base)
    moved = [it.layout.model for it in subjects if not it.unchanged][:DRAWN]
    for it in subjects:
        drawn = Illustrations("" if folder is None else UNDRAWN, "")
        if folder is not None and it.layout.model in moved:
            drawn = illustrate(it, folder)
        own = [row for row in changed if row[0].startswith(f"{it.layout.model}.")]
        yield from _of_one(it, drawn, partial(changes.params, own, base.name))
    names = {it.layout.model for it in subjects}
    others = [row for row in changed if row[0].partition(".")[0] not in names]
    yield Section("params.yaml", "Other params", 6, partial(changes.params, others, base.name))


def _of_one(it: Subject, drawn: Illustrations, params: Callable[[int], str]) -> Iterator[Section]:
    """One model's sections, in the order of reading."""
    less = UNCHANGED if it.unchanged and not params(1) else 0
    for title, weight, render in (
        ("Metrics", 8, lambda most: figures(it)),
        ("Params", 7, params),
        ("Classes", 5, partial(classes, it, drawn.confusion)),
        ("Images whose answer changed", 6, partial(changes.images, it, drawn.changed)),
        ("Data", 4, partial(changes.data, it)),
        ("Artifact", 3, partial(artifact.artifact, it)),
    ):
        yield Section(it.layout.model, title, weight + less, render)


def _params(base: Base) -> list[Difference]:
    """What params.yaml says otherwise than at the commit to compare with."""
    data = base.commit and repository.content(base.commit, params.PARAMS_FILE)
    with suppress(ParamsInvalid):
        before, now = (
            parse_yaml(content, params.PARAMS_FILE)
            for content in (data or b"", params.PARAMS_FILE.read_bytes())
        )
        if isinstance(before, Mapping):
            return differences(flat(before), flat(now))
    return []


def _foot(against: str | None, pictures: bool) -> str:
    """How to come to the same report, and what wrote it."""
    head = repository.commit("HEAD")
    command = "make evaluate && make report"
    if against:
        command += f" AGAINST={shlex.quote(against)}"
    dirty = " The workspace has changes that are not committed." if repository.changed(["."]) else ""
    drawn = "" if pictures else " Without pictures: `make report` draws them, where the data are."
    at = f" at {code(head[:10])}" if head else ""
    return f"---\n\nMade again by {code(command, 300)}{at}.{dirty}{drawn} Written by `make report`.\n"
