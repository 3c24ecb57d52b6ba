"""A stage has one name from dvc.yaml over its script to params.yaml, and depends on all that it runs."""

from pathlib import Path

import pytest

from pipeline.registry.mlflow_model import packaged_code
from tests.repo.imports import PACKAGES, ROOT, closure, dependencies
from tests.repo.stages import PARAMS, STAGES

MODELS = [name for name in PARAMS if name != "models"]
SERVED = Path("serving/pyfunc.py")


def test_order() -> None:
    assert list(STAGES) == ["prepare", "build", "export", "evaluate", "register"]


@pytest.mark.parametrize("stage", STAGES)
def test_one_name(stage: str) -> None:
    described = STAGES[stage]
    assert (ROOT / f"pipeline/stages/{stage}.py").is_file()
    assert described["cmd"] == f"python -m pipeline.stages.{stage} ${{item.model}}"
    assert described["params"] == [f"${{item.model}}.{stage}"]
    assert described["matrix"] == {"model": "${models}"}


@pytest.mark.parametrize("model", MODELS)
def test_one_section_of_params_per_stage(model: str) -> None:
    assert list(PARAMS[model]) == list(STAGES)


def test_models_are_described() -> None:
    assert set(PARAMS["models"]) <= set(MODELS)


@pytest.mark.parametrize("stage", STAGES)
def test_depends_on_all_code_that_it_runs(stage: str) -> None:
    named = [
        dep for dep in STAGES[stage]["deps"] if dep.startswith(tuple(f"{package}/" for package in PACKAGES))
    ]
    # The bundle holds a copy of the code that answers.
    copied = closure(SERVED) if stage == "export" else set()
    assert named == dependencies(closure(Path(f"pipeline/stages/{stage}.py")) | copied)


def test_bundle_takes_all_code_that_answers() -> None:
    assert [path.relative_to(ROOT) for path in packaged_code()] == sorted(closure(SERVED))


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_stay_until_a_stage_has_succeeded(stage: str) -> None:
    described = STAGES[stage]
    for kind in ("outs", "metrics", "plots"):
        for entry in described.get(kind, []):
            ((path, options),) = entry.items()
            assert options["persist"], path
            assert options.get("cache", True) or path.endswith("registered.json") or "reports/" in path


def outputs(stage: str) -> set[str]:
    """What a stage writes."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, [])]
    return {out for entry in entries for out in entry}


def test_data_come_from_an_earlier_stage_or_from_outside() -> None:
    made: set[str] = set()
    for stage, described in STAGES.items():
        data = [
            dep
            for dep in described["deps"]
            if not dep.startswith(tuple(f"{package}/" for package in PACKAGES))
        ]
        inner = [dep for dep in data if not dep.startswith(("data/raw/", "data/foreign", "requirements/"))]
        assert [dep for dep in inner if not any(f"{dep}/".startswith(f"{out}/") for out in made)] == []
        made |= outputs(stage)
