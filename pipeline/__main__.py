"""The commands: `python -m pipeline <verb> [model]`. Stages are run by DVC, not from here.

Whatever needs MLflow is imported by the verbs that ask the registry: it takes a second, for which the others
need not wait.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import params
from pipeline.command_line import guarded
from pipeline.errors import ChainBroken, HistoryShallow, RemovalUnconfirmed
from pipeline.layout import Layout
from pipeline.project.reproduction import reproduce_all
from pipeline.project.staleness import stale_reasons
from pipeline.registry import pin_history
from pipeline.registry.fetch import fetch_pinned
from serving.model.predictor import Predictor

if TYPE_CHECKING:
    from pipeline.registry.mlflow_registry import Registry


def _connect() -> "Registry":
    from pipeline.registry.mlflow_registry import Registry

    return Registry.connect(params.Environment.read())


def _run(options: argparse.Namespace) -> None:
    """build, register, promote and ask a model: the main job"""
    from pipeline.project.run import run

    run(options.model)


def _classify(options: argparse.Namespace) -> None:
    """answer one image with the bundle of the workspace"""
    predictor = Predictor.open(Layout(options.model).bundle)
    for score in predictor.top(predictor.answer(options.image.read_bytes())):
        print(f"{score.score:7.2%}  {score.label}")


def _promote(options: argparse.Namespace) -> None:
    """pin the bundle of the workspace, or the version with a number"""
    from pipeline.registry import promotion
    from pipeline.registry.registration import ensure_registered

    layout, registry = Layout(options.model), _connect()
    version = (
        ensure_registered(layout, registry)
        if options.version is None
        else registry.get_by_number(options.model, options.version)
    )
    pin = promotion.promote(layout, registry, version)
    print(f"{layout.pin}: version {pin.version}, digest {pin.digest}")


def _rollback(options: argparse.Namespace) -> None:
    """pin what was pinned before"""
    from pipeline.registry import promotion

    layout = Layout(options.model)
    pin = promotion.rollback(layout, _connect())
    print(f"{layout.pin}: version {pin.version}, digest {pin.digest}")


def _verify(options: argparse.Namespace) -> int:
    """check every digest of the chain, and list all that is broken"""
    from pipeline.registry import chain_of_custody

    broken = 0
    for link in chain_of_custody.chain_links(Layout(options.model), _connect):
        try:
            print(f"ok      {link.name}: {link.verify()}")
        except ChainBroken as error:
            broken += 1
            print(f"BROKEN  {error}")
    return 1 if broken else 0


def _trace(options: argparse.Namespace) -> None:
    """walk from the data to the pin, and stop where the chain is broken"""
    from pipeline.registry import chain_of_custody

    for link in chain_of_custody.chain_links(Layout(options.model), _connect):
        print(f"{link.name}: {link.verify()}")


def _history(options: argparse.Namespace) -> None:
    """list what was pinned, by whom and when, newest first"""
    layout = Layout(options.model)
    for entry in pin_history.history(layout.pin):
        pin = entry.pin
        print(f"{entry.date}  {entry.commit[:10]}  version {pin.version}  {pin.digest}  {entry.author}")
    if pin_history.is_shallow():
        print(HistoryShallow(layout.pin))


def _fetch(options: argparse.Namespace) -> None:
    """have the pinned bundle here: from registry or DVC, or built again"""
    fetch_pinned(Layout(options.model), options.stand_in)


def _repair(options: argparse.Namespace) -> int:
    """mend registry, alias and pin after a copy, a move or lost files, and say what cannot be mended"""
    from pipeline.project.repair import RepairStatus, repair

    left = 0
    for finding in repair(Layout(options.model), params.Environment.read()):
        print(finding)
        left += finding.status is RepairStatus.NOT_REPAIRED
    return 1 if left else 0


def _remove(options: argparse.Namespace) -> None:
    """remove a model with all that belongs to it, after listing that"""
    from pipeline.project import removal

    layout, registry = Layout(options.model), _connect()
    for line in removal.plan_removal(layout, registry):
        print(f"remove  {line}")
    if not options.yes and not (sys.stdin.isatty() and input("Remove all this? [y/N] ").lower() == "y"):
        raise RemovalUnconfirmed(options.model)
    for line in removal.remove_model(layout, registry):
        print(f"kept    {line}")


def _rename(options: argparse.Namespace) -> None:
    """give a model another name, without training it again"""
    from pipeline.project import renaming

    for line in renaming.rename_model(Layout(options.model), Layout(options.new), _connect()):
        print(line)


def _reproduce(options: argparse.Namespace) -> None:
    """run what has changed of all models, up to a stage; photos are needed only by what has changed"""
    reproduce_all(options.stage)


def _stale(options: argparse.Namespace) -> int:
    """say whether dvc.lock is what code, params and data say; pulls nothing"""
    reasons = stale_reasons(options.model)
    for reason in reasons:
        print(reason)
    print("dvc.lock is out of date: run `dvc repro`" if reasons else "dvc.lock is up to date")
    return 1 if reasons else 0


def _report(options: argparse.Namespace) -> None:
    """compare with main and with what is served, and write report.md; runs nothing"""
    # Imported here because it draws, and Matplotlib takes half a second that no other verb needs.
    from pipeline.report import document

    document.main(options.against, options.pictures)


VERBS: tuple[Callable[[argparse.Namespace], int | None], ...] = (
    _run, _classify, _promote, _rollback, _verify, _trace, _history, _fetch, _repair,
    _remove, _rename, _reproduce, _stale, _report,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    verbs = result.add_subparsers(required=True, metavar="verb")
    for verb in VERBS:
        name = verb.__name__.removeprefix("_")
        command = verbs.add_parser(name, help=verb.__doc__, description=verb.__doc__)
        command.set_defaults(verb=verb)
        command.set_defaults(model=None)
        # Without a model, `stale` speaks of all of them; every other verb but `report` needs one.
        if name not in ("report", "reproduce"):
            command.add_argument(
                "model", nargs="?" if name == "stale" else None, help="a section of params.yaml"
            )
        if name == "reproduce":
            command.add_argument("stage", choices=("evaluate", "register"))
        if name == "rename":
            command.add_argument("new", help="the name that it gets")
        if name == "remove":
            command.add_argument("--yes", action="store_true", help="remove what is listed, without asking")
        if name == "classify":
            command.add_argument("image", type=Path)
        if name == "promote":
            command.add_argument("--version", type=int, help="its number in the registry")
        if name == "fetch":
            text = "take what building gives if the pinned bytes cannot be had; to try, not to publish"
            command.add_argument("--stand-in", action="store_true", help=text)
        if name == "report":
            command.add_argument("--against", help="a branch, tag or commit; main by default")
            command.add_argument("--without-pictures", dest="pictures", action="store_false")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    options = parser().parse_args(arguments)
    return guarded(lambda: _checked(options))


def _checked(options: argparse.Namespace) -> int | None:
    """Runs a verb for a model that is known.

    `run` takes one that has only photos, `fetch` only a pin, `remove` whatever is left of one.
    """
    if options.verb not in (_run, _fetch, _remove) and options.model is not None:
        params.load().of(options.model)
    verb: Callable[[argparse.Namespace], int | None] = options.verb
    return verb(options)


if __name__ == "__main__":
    sys.exit(main())
