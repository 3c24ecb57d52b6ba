"""docs/scoring.md and the recipe for Ray say what the code does."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from scoring import errors
from scoring.__main__ import parser
from scoring.errors import FileError, ScoringError
from scoring.rows import SCHEMA
from tests.repo.imports import ROOT, modules
from tests.repo.test_locks_agree import pins

DOCUMENT = (ROOT / "docs/scoring.md").read_text(encoding="utf-8")
KINDS = [*ScoringError.__subclasses__(), *FileError.__subclasses__()]
RECIPE = yaml.safe_load((ROOT / "deploy/scoring/rayjob.yaml").read_text(encoding="utf-8"))["spec"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_error_is_drawn_documented_and_raised(kind: type[ScoringError]) -> None:
    assert re.search(rf"── {kind.__name__} +{kind.code}\n", errors.__doc__ or "")
    assert f"`{kind.code}`" in DOCUMENT
    source = "".join((ROOT / path).read_text() for path in modules("scoring") if path.name != "errors.py")
    assert re.search(rf"(raise {kind.__name__}\b|{kind.__name__}\()", source)


def test_columns_are_documented() -> None:
    table = DOCUMENT.split("| column | |")[1].split("\n\n")[0]
    documented = [
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1:2][0] if line else "")
    ]
    assert documented == SCHEMA.names


def test_options_exist() -> None:
    known = {option for action in parser()._actions for option in action.option_strings}
    used = set(re.findall(r"`?(--[a-z][a-z-]+)", "\n".join(_own_lines())))
    assert used - {"--require-hashes"} <= known
    assert {
        "--column",
        "--root",
        "--level",
        "--explain",
        "--retry",
        "--max-errors",
        "--shard",
        "--workers",
    } <= used


def _own_lines() -> Iterator[str]:
    """The lines of the document without the commands of other programs."""
    return (
        line
        for line in DOCUMENT.splitlines()
        if not re.match(r"(docker|kubectl|python -m pip) |.*ray get-auth", line)
    )


def test_recipe_runs_this_command_with_the_locked_ray() -> None:
    command = shlex.split(RECIPE["entrypoint"])
    assert command[:3] == ["python", "-m", "scoring"]
    assert parser().parse_args(command[3:]).engine == "ray"
    assert RECIPE["rayClusterSpec"]["rayVersion"] in {pin.version for pin in pins("ray") if pin.name == "ray"}


def test_pods_of_the_recipe_are_valid() -> None:
    cluster = RECIPE["rayClusterSpec"]
    groups: list[Any] = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "ray"},
            "spec": group["template"]["spec"],
        }
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
