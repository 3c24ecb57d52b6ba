"""Imports only go down: serving knows nothing of pipeline, no stage of another, no module of itself."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pipeline.registry.mlflow_model import packaged_code
from tests.repo.imports import PACKAGES, ROOT, closure, imported, local, modules
from tests.repo.stages import STAGES

# What only the offline half has.
OFFLINE = {"pipeline", "tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "mlflow", "dvc", "yaml"}

# Heavy libraries, and the modules whose job each of them is.
ADAPTERS = {
    "tensorflow": {"pipeline/network/backend.py"},
    # The second needs Keras's corrections of tf2onnx.
    "keras": {"pipeline/network/backend.py", "pipeline/onnx/tensorflow_graph.py"},
    "tf2onnx": {"pipeline/onnx/tensorflow_graph.py"},
    "mlflow": {
        "pipeline/registry/mlflow_connection.py",
        "pipeline/registry/mlflow_files.py",
        "pipeline/registry/mlflow_model.py",
        "pipeline/registry/mlflow_registry.py",
        "pipeline/registry/mlflow_version.py",
    },
    "onnx": {
        "pipeline/model_files/onnx_file.py",
        "pipeline/model_files/onnx_interface.py",
        "pipeline/model_files/onnx_reading.py",
        "pipeline/model_files/onnx_wrapping.py",
        "pipeline/onnx/calibrated_graph.py",
        "pipeline/onnx/class_activation.py",
        "pipeline/onnx/double_precision.py",
        "pipeline/onnx/graph_tail.py",
        "pipeline/onnx/keras_to_onnx.py",
        "pipeline/onnx/quantisation.py",
        "pipeline/onnx/served_graph.py",
        "pipeline/onnx/tensorflow_graph.py",
        "pipeline/project/weight_files.py",
    },
    "onnxruntime": {
        "pipeline/importing/trials.py",
        "pipeline/onnx/quantisation.py",
        "serving/model/predictor.py",
    },
    "sklearn": {"pipeline/data/sklearn_images.py"},
    "matplotlib": {
        "pipeline/evaluation/plotting.py",
        "pipeline/evaluation/example_grid.py",
        "pipeline/evaluation/reliability_diagram.py",
        "pipeline/report/images.py",
    },
    "dvclive": {"pipeline/network/training.py"},
    "dvc": set(),
    "fsspec": {"scoring/storage.py"},
    "ray": {"scoring/engines/ray_cluster.py"},
    "prometheus_client": {"serving/api/metrics.py"},
    "opentelemetry": {"serving/api/span_export.py"},
    "cryptography": {"pipeline/registry/signing.py", "serving/artifact/trusted_keys.py"},
    "model_signing": {"pipeline/registry/signing.py"},
    "gunicorn": {
        "serving/api/app.py",
        "serving/log.py",
        "serving/server/chunked_body.py",
        "serving/server/client_socket.py",
        "serving/server/gunicorn_app.py",
        "serving/server/gunicorn_seam.py",
        "serving/server/master.py",
        "serving/server/request_dispatch.py",
        "serving/server/request_validation.py",
    },
}
# What serves over HTTP, and the modules that travel with the model and know nothing of it.
WEB = {"flask", "werkzeug", "gunicorn", "prometheus_client", "msgspec"}

EVERY = [path for package in PACKAGES for path in modules(package)]


def packages(path: Path) -> set[str]:
    """The top-level packages that a module imports, also inside functions."""
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", modules("serving"), ids=str)
def test_serving_imports_nothing_of_the_offline_half(path: Path) -> None:
    assert not packages(path) & OFFLINE


@pytest.mark.parametrize("path", modules("serving"), ids=str)
def test_serving_does_not_know_of_bulk_scoring(path: Path) -> None:
    assert not packages(path) & {"scoring", "pyarrow", "fsspec", "ray"}


@pytest.mark.parametrize("path", modules("scoring"), ids=str)
def test_bulk_scoring_needs_no_training_and_no_web_server(path: Path) -> None:
    assert not packages(path) & (OFFLINE | WEB - {"msgspec"})


@pytest.mark.parametrize("path", [path.relative_to(ROOT) for path in packaged_code()], ids=str)
def test_predictor_knows_nothing_of_http(path: Path) -> None:
    assert not {package for path in closure(path) for package in packages(path)} & WEB


@pytest.mark.parametrize("path", EVERY, ids=str)
def test_imports_are_absolute(path: Path) -> None:
    # Only such are seen here, and by the closure that dvc.yaml is held to.
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


def test_no_cycles() -> None:
    # It raises CycleError, with the cycle.
    order = list(TopologicalSorter({path: local(path) for path in EVERY}).static_order())
    assert set(order) == set(EVERY)


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_reaches_another(stage: str) -> None:
    scripts = {Path(f"pipeline/stages/{name}.py") for name in STAGES}
    own = Path(f"pipeline/stages/{stage}.py")
    assert closure(own) & scripts == {own}


@pytest.mark.parametrize("library", ADAPTERS)
def test_heavy_library_is_imported_where_it_is_the_job(library: str) -> None:
    assert {path.as_posix() for path in EVERY if library in packages(path)} == ADAPTERS[library]


def test_serving_runs_without_the_offline_half() -> None:
    every = ", ".join(".".join(path.with_suffix("").parts) for path in modules("serving"))
    code = f"import sys, {every}; print(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert not set(done.stdout.split()) & OFFLINE


@pytest.mark.parametrize("path", EVERY, ids=str)
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}
