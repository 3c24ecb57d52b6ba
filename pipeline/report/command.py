"""The command `python -m pipeline report`.

Reads `reports/`, `pins/`, `params.yaml` and, if present, bundles and test images; and the same files in git
at the commit that is compared with.
Writes `report.md`, and the images that it links to into `report/`.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipeline import params
from pipeline.errors import CommandFailed, InputMissing, ParamsInvalid
from pipeline.files import replace_folder, write
from pipeline.layout import Layout
from pipeline.markdown import code
from pipeline.project.staleness import stale_reasons
from pipeline.report import git_history
from pipeline.report.comparison_base import ComparisonBase, find_base
from pipeline.report.differences import ParamChange, flatten, param_changes
from pipeline.report.document import Section, count_images, render_document
from pipeline.report.formatting import count, short_commit
from pipeline.report.images import FOLDER, ImageLinks, draw_images
from pipeline.report.model_comparison import ModelComparison, compare_model
from pipeline.report.sections.bundle import bundle_section
from pipeline.report.sections.changes import data_section, params_section, predictions_section
from pipeline.report.sections.classes import classes_section
from pipeline.report.sections.metrics import metrics_section
from pipeline.report.sections.verdict import Verdict, model_verdict, unmeasured_verdict
from pipeline.yaml_validation import parse_yaml

REPORT = Path("report.md")
# Added to the priority of an unchanged model's sections: those of changed models are kept longer.
UNCHANGED_PRIORITY = -100
# Drawing takes about a second per model.
MAX_DRAWN_MODELS = 8
NOT_DRAWN = ImageLinks("Images are drawn for the first eight changed models only.")
UNCHECKED = "`dvc status` failed, so `dvc.lock` may be out of date: `python -m pipeline stale` shows why."


def write_report(against: str | None = None, with_images: bool = True) -> None:
    """Reports on all models of params.yaml, compared with the commit where this branch left `against`."""
    models = params.load().models
    if not models:
        raise ParamsInvalid(params.PARAMS_FILE, ["models: empty, so there is nothing to report"])
    if not any(Layout(model).metrics.exists() for model in models):
        raise InputMissing(Layout(models[0]).metrics, models[0])
    base = find_base(against)
    reasons = _stale_reasons()
    results = [compare_model(Layout(model), base, _of_model(model, reasons or [])) for model in models]
    # Most urgent first: their sections and images are kept longest.
    reported = sorted(
        ((_verdict(model, result), result) for model, result in zip(models, results, strict=True)),
        key=lambda entry: entry[0].status,
    )
    verdicts = [verdict for verdict, _ in reported]
    comparisons = [result for _, result in reported if isinstance(result, ModelComparison)]
    footer = _footer(against, with_images)
    with replace_folder(FOLDER) as folder:
        sections = list(_sections(comparisons, base, folder if with_images else None))
        compared = base.explanation if reasons is not None else f"{base.explanation} {UNCHECKED}"
        text = render_document(verdicts, compared, sections, footer)
    write(REPORT, text.encode())
    for verdict in verdicts:
        print(verdict.line.replace("**", "").replace("`", ""))
    print(f"{REPORT}: {len(text):,} characters, {count(count_images(text), 'image')}")


def _stale_reasons() -> list[str] | None:
    """Why dvc.lock is out of date; `None` if `dvc status` fails."""
    try:
        return stale_reasons()
    except CommandFailed:
        return None


def _verdict(model: str, result: ModelComparison | str) -> Verdict:
    return unmeasured_verdict(model, result) if isinstance(result, str) else model_verdict(result)


def _of_model(model: str, reasons: Sequence[str]) -> list[str]:
    """The reasons of one model's stages, such as `build@digits: changed deps, ...`.

    `register` does not affect the results, and CI runs it on main only.
    """
    return [
        reason
        for reason in reasons
        if reason.partition(": ")[0].endswith(f"@{model}") and not reason.startswith("register@")
    ]


def _sections(
    comparisons: Sequence[ModelComparison], base: ComparisonBase, folder: Path | None
) -> Iterator[Section]:
    """The sections of all models; images are drawn into `folder`, if there is one."""
    changes = _param_changes(base)
    changed = [comparison.layout.model for comparison in comparisons if not comparison.unchanged]
    for comparison in comparisons:
        model, links = comparison.layout.model, ImageLinks()
        if folder is not None:
            links = draw_images(comparison, folder) if model in changed[:MAX_DRAWN_MODELS] else NOT_DRAWN
        own = [change for change in changes if change[0].startswith(f"{model}.")]
        yield from _model_sections(comparison, links, own, base.name)
    models = {comparison.layout.model for comparison in comparisons}
    others = [change for change in changes if change[0].partition(".")[0] not in models]
    yield Section("params.yaml", "Other params", 6, partial(params_section, others, base.name))


def _model_sections(
    comparison: ModelComparison, links: ImageLinks, changes: Sequence[ParamChange], base: str
) -> Iterator[Section]:
    """One model's sections in reading order."""
    offset = UNCHANGED_PRIORITY if comparison.unchanged and not changes else 0
    for title, priority, render in (
        ("Metrics", 8, lambda max_rows: metrics_section(comparison, links.reliability)),
        ("Params", 7, partial(params_section, changes, base)),
        ("Classes", 5, partial(classes_section, comparison, links.matrices)),
        ("Images whose prediction changed", 6, partial(predictions_section, comparison, links.tiles)),
        ("Data", 4, partial(data_section, comparison)),
        ("Artifact", 3, partial(bundle_section, comparison)),
    ):
        yield Section(comparison.layout.model, title, priority + offset, render)


def _param_changes(base: ComparisonBase) -> list[ParamChange]:
    """The values of params.yaml that differ from the base commit's."""
    data = base.commit and git_history.read_file(base.commit, params.PARAMS_FILE)
    with suppress(ParamsInvalid):
        before = parse_yaml(data or b"", params.PARAMS_FILE)
        now = parse_yaml(params.PARAMS_FILE.read_bytes(), params.PARAMS_FILE)
        if isinstance(before, Mapping):
            return param_changes(flatten(before), flatten(now))
    return []


def _footer(against: str | None, with_images: bool) -> str:
    """How to reproduce the report, and from which commit it was made."""
    head = git_history.resolve("HEAD")
    command = "make evaluate && make report"
    if against:
        command += f" AGAINST={shlex.quote(against)}"
    at = f" at {short_commit(head)}" if head else ""
    dirty = " The workspace has changes that are not committed." if git_history.has_changes(["."]) else ""
    images = "" if with_images else " Without images: `make report` draws them where the data are available."
    return f"---\n\nReproduce it with {code(command, 300)}{at}.{dirty}{images} Written by `make report`.\n"
