"""The commands: `python -m pipeline <command> [model]`. Stages are run by DVC, not from here.

MLflow takes a second to import, so only the commands that use the registry import it.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from pipeline import params
from pipeline.command_line import run_and_report
from pipeline.comparison import command as comparison
from pipeline.environment import Environment
from pipeline.errors import ChainBroken, HistoryShallow, RemovalUnconfirmed
from pipeline.evaluation.explained_image import explain_image
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.project.reproduction import reproduce_all
from pipeline.project.staleness import stale_reasons
from pipeline.registry import pin_history
from pipeline.registry.fetch import fetch_pinned
from serving.artifact.pin import Pin
from serving.explanation.explainer import METHODS
from serving.model.predictor import Predictor

if TYPE_CHECKING:
    from pipeline.registry.mlflow_registry import Registry


def _connect_to_registry() -> "Registry":
    from pipeline.registry.mlflow_registry import Registry

    return Registry.connect(Environment.read())


def _run(options: argparse.Namespace) -> None:
    """build, register and promote a model, then classify a test image with it"""
    from pipeline.project.run import run

    run(options.model)


def _classify(options: argparse.Namespace) -> None:
    """classify one image with the bundle of the workspace"""
    predictor = Predictor.open(Layout(options.model).bundle)
    for score in predictor.top(predictor.classify(options.image.read_bytes())):
        print(f"{score.score:7.2%}  {score.label}")


def _explain(options: argparse.Namespace) -> None:
    """draw which places of an image speak for a class, with the bundle of the workspace"""
    found = explain_image(Layout(options.model).bundle, options.image, options.label, options.method)
    write(options.output, found.picture)
    print(f"{found.score:7.2%}  {found.label}")
    for row in found.values:
        print(" ".join(f"{value:7.3f}" for value in row))
    print(f"{options.output}: {found.meaning}")


def _compare(options: argparse.Namespace) -> None:
    """classify the same images with two bundles of a model, and tell whether B is as good as A"""
    comparison.compare_and_report(options)


def _inspect(options: argparse.Namespace) -> None:
    """look into a model file, and measure on labelled photos how it wants its pixels"""
    # Imported here because TensorFlow takes seconds to import.
    from pipeline.importing import inspection, inspection_text, project_entry

    request = inspection.Request(
        options.file, options.photos, options.labels, options.size, options.code, options.architecture
    )
    found = inspection.inspect(request, Environment.read())
    for line in inspection_text.describe_inspection(found):
        print(line)
    model = options.name or project_entry.default_name(options.file)
    print(f"\nIn params.yaml:\n\n{model}:\n{indent(project_entry.section_of(found), '  ')}")
    if options.write:
        for line in project_entry.add_to_project(found, model):
            print(line)
    else:
        print("Nothing was changed; --write copies the files into the project and adds this section.")


def _promote(options: argparse.Namespace) -> None:
    """pin the bundle of the workspace, or the version with a number"""
    from pipeline.registry import promotion
    from pipeline.registry.registration import ensure_registered
    from pipeline.registry.signing import SigningKey, sign_version

    # Read first, because a wrong key must not leave a new version in the registry.
    key = SigningKey.read(options.sign, Environment.read().signing_passphrase) if options.sign else None
    layout, registry = Layout(options.model), _connect_to_registry()
    version = (
        ensure_registered(layout, registry)
        if options.version is None
        else registry.get_by_number(options.model, options.version)
    )
    pin = promotion.promote(layout, registry, version, sign_version(registry, version, key) if key else None)
    _print_pin(layout, pin)


def _allow(options: argparse.Namespace) -> None:
    """let servers that follow an alias change to a version, without pinning it"""
    from pipeline.registry import promotion

    layout, registry = Layout(options.model), _connect_to_registry()
    pin = promotion.allow(layout, registry, registry.get_by_number(options.model, options.version))
    print(f"{layout.pin}: version {pin.version} is pinned, and {len(pin.allowed)} more are allowed")


def _rollback(options: argparse.Namespace) -> None:
    """pin the previously pinned version"""
    from pipeline.registry import promotion

    layout = Layout(options.model)
    _print_pin(layout, promotion.rollback(layout, _connect_to_registry()))


def _print_pin(layout: Layout, pin: Pin) -> None:
    print(f"{layout.pin}: version {pin.version}, digest {pin.digest}")
    if layout.signature.exists():
        print(f"{layout.signature}: its signature, to be committed with it")


def _verify(options: argparse.Namespace) -> int:
    """check every digest of the chain from data to pin, and list all broken links"""
    from pipeline.registry import chain_of_custody

    broken = 0
    for link in chain_of_custody.chain_links(Layout(options.model), _connect_to_registry):
        try:
            print(f"ok      {link.name}: {link.verify()}")
        except ChainBroken as error:
            broken += 1
            print(f"BROKEN  {error}")
    return 1 if broken else 0


def _trace(options: argparse.Namespace) -> None:
    """show the chain from data to pin, and stop at the first broken link"""
    from pipeline.registry import chain_of_custody

    for link in chain_of_custody.chain_links(Layout(options.model), _connect_to_registry):
        print(f"{link.name}: {link.verify()}")


def _history(options: argparse.Namespace) -> None:
    """list the pinned versions with author and date, newest first"""
    layout = Layout(options.model)
    for entry in pin_history.history(layout.pin):
        pin = entry.pin
        print(f"{entry.date}  {entry.commit[:10]}  version {pin.version}  {pin.digest}  {entry.author}")
    if pin_history.is_shallow():
        print(HistoryShallow(layout.pin))


def _fetch(options: argparse.Namespace) -> None:
    """fetch the pinned bundle from the registry or DVC, or rebuild it"""
    fetch_pinned(Layout(options.model), options.stand_in)


def _rebuild(options: argparse.Namespace) -> None:
    """build the last commit again from nothing, in a temporary clone, and compare with the pin"""
    from pipeline.project.rebuilding import rebuild

    rebuild(Layout(options.model))


def _repair(options: argparse.Namespace) -> int:
    """repair registry, alias and pin after a copy, a move or lost files; list what cannot be repaired"""
    from pipeline.project.repair import RepairStatus, repair

    left = 0
    for finding in repair(Layout(options.model), Environment.read()):
        print(finding)
        left += finding.status is RepairStatus.NOT_REPAIRED
    return 1 if left else 0


def _remove(options: argparse.Namespace) -> None:
    """list everything that belongs to a model, then remove it"""
    from pipeline.project import removal

    layout, registry = Layout(options.model), _connect_to_registry()
    for line in removal.plan_removal(layout, registry):
        print(f"remove  {line}")
    if not options.yes and not (sys.stdin.isatty() and input("Remove all this? [y/N] ").lower() == "y"):
        raise RemovalUnconfirmed(options.model)
    for line in removal.remove_model(layout, registry):
        print(f"kept    {line}")


def _rename(options: argparse.Namespace) -> None:
    """rename a model without training it again"""
    from pipeline.project import renaming

    for line in renaming.rename_model(Layout(options.model), Layout(options.new), _connect_to_registry()):
        print(line)


def _reproduce(options: argparse.Namespace) -> None:
    """run the changed stages of all models, up to a stage; photos are needed only for changed models"""
    reproduce_all(options.stage)


def _stale(options: argparse.Namespace) -> int:
    """tell whether dvc.lock matches code, params and data; pulls nothing"""
    reasons = stale_reasons(options.model)
    for reason in reasons:
        print(reason)
    print("dvc.lock is out of date: run `dvc repro`" if reasons else "dvc.lock is up to date")
    return 1 if reasons else 0


def _report(options: argparse.Namespace) -> None:
    """compare with main and with the served version, and write report.md; runs no stage"""
    # Imported here because Matplotlib takes half a second to import.
    from pipeline.report.command import write_report

    write_report(options.against, options.pictures)


COMMAND_FUNCTIONS: tuple[Callable[[argparse.Namespace], int | None], ...] = (
    _run, _inspect, _classify, _explain, _compare, _promote, _allow, _rollback, _verify, _trace, _history,
    _fetch, _rebuild, _repair, _remove, _rename, _reproduce, _stale, _report,
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; a function's name is its command and its docstring the help text."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for function in COMMAND_FUNCTIONS:
        name = function.__name__.removeprefix("_")
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        command.set_defaults(model=None)
        # `stale` without a model checks all models; `report` and `reproduce` always cover all of them.
        if name not in ("inspect", "report", "reproduce"):
            command.add_argument(
                "model", nargs="?" if name == "stale" else None, help="a section of params.yaml"
            )
        if name == "inspect":
            _add_inspect_arguments(command)
        if name == "reproduce":
            command.add_argument("stage", choices=("evaluate", "register"))
        if name == "rename":
            command.add_argument("new", help="the new name")
        if name == "remove":
            command.add_argument("--yes", action="store_true", help="remove without asking")
        if name in ("classify", "explain"):
            command.add_argument("image", type=Path)
        if name == "explain":
            _add_explain_arguments(command)
        if name == "compare":
            comparison.add_arguments(command)
        if name == "allow":
            command.add_argument("--version", type=int, required=True, help="its number in the registry")
        if name == "promote":
            command.add_argument("--version", type=int, help="its number in the registry")
            command.add_argument(
                "--sign", type=Path, metavar="KEY", help="a PEM file with an EC private key, to sign it with"
            )
        if name == "fetch":
            text = "accept a rebuilt bundle with another digest; for a trial, not for publishing"
            command.add_argument("--stand-in", action="store_true", help=text)
        if name == "report":
            command.add_argument("--against", help="a branch, tag or commit; main by default")
            command.add_argument("--without-pictures", dest="pictures", action="store_false")
    return parser


def _add_explain_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--class", dest="label", help="label or id of the class; by default the best one")
    command.add_argument("--method", choices=METHODS, help="by default cam, if the network allows it")
    command.add_argument(
        "--output", type=Path, default=Path("heatmap.png"), help="the picture; heatmap.png by default"
    )


def _add_inspect_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, help="a Keras, HDF5 or ONNX file, or a SavedModel folder")
    command.add_argument("--photos", type=Path, help="class folders of labelled photos")
    command.add_argument("--labels", type=Path, help="class names in the order of the outputs, or imagenet")
    command.add_argument(
        "--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="for a network that takes any size"
    )
    command.add_argument("--code", type=Path, help="a Python file that defines its layers; it is run")
    command.add_argument("--architecture", help="in keras.applications, for a file of weights alone")
    command.add_argument("--name", help="of the model in params.yaml; from the file by default")
    command.add_argument("--write", action="store_true", help="add the model to the project")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = build_parser().parse_args(arguments)
    return run_and_report(lambda: _run_command(options))


def _run_command(options: argparse.Namespace) -> int | None:
    """Runs a command after checking that the model has a section in params.yaml.

    Not checked for `run`, which may start with photos only, `fetch`, which needs only a pin, and `remove`.
    """
    if options.function not in (_run, _fetch, _remove) and options.model is not None:
        params.load().for_model(options.model)
    function: Callable[[argparse.Namespace], int | None] = options.function
    return function(options)


if __name__ == "__main__":
    sys.exit(main())
