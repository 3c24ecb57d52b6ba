"""The servers that are compared, and how each is started.

The folders under `peers/` hold each peer's application, the settings that its documentation recommends, and
its exact requirements.
"""

import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import wire_formats
from benchmarks.serving.environments import PEERS, bin_folder
from benchmarks.serving.processes import ProcessTree, process_tree
from benchmarks.serving.project import FLOAT, Project, ServedBundle
from benchmarks.serving.wire_formats import WireFormat
from serving.artifact.manifest import LABELS, PREPROCESSING
from serving.artifact.pin import Pin
from serving.cpu_count import available_cores
from tests.serving.servers import free_port

OURS, TUTORIAL, LIMIT, PEER = "ours", "tutorial", "limit", "peer"
# Admits all 256 clients, as the peers' unbounded queues do. The default queue would refuse some of them.
LONG_QUEUE = {"GOLDFISH_QUEUE": "256", "GOLDFISH_UPLOADS": "256"}


@dataclass(frozen=True)
class Contender:
    """One row of the table. `peer` names its folder under `peers/`, if it has an environment of its own.

    In `command` and `variables`, `{port}`, `{other_port}` and `{folder}` stand for two free ports and a
    temporary folder, in which `files` are written.
    """

    name: str
    kind: str
    precision: str
    setup: str
    path: str
    wire_format: WireFormat
    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def start(self, port: int, folder: Path) -> AbstractContextManager[ProcessTree]:
        """Starts the command with its environment; stops its processes when the block ends."""
        foreign = ("GOLDFISH_", "MLFLOW_", "PYTHON")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # No bytecode: it would be written into the bundle.
        environment |= {"PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.peer:
            environment["PATH"] = f"{bin_folder(self.peer)}{os.pathsep}{environment['PATH']}"
        values = {"{port}": port, "{other_port}": free_port(), "{folder}": folder}

        def substitute(text: str) -> str:
            for placeholder, value in values.items():
                text = text.replace(placeholder, str(value))
            return text

        environment |= {name: substitute(text) for name, text in self.variables.items()}
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return process_tree([substitute(part) for part in self.command], folder, environment, folder / "log")


def all_contenders(project: Project, seconds: float, quick: bool) -> list[Contender]:
    """The rows of a run; a quick run leaves out the peers."""
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits = [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
    return [*own, *limits, tutorial(), *([] if quick else peers(project.reference))]


def small_model_contenders(project: Project, seconds: float) -> list[Contender]:
    """The rows for a small model, whose requests spend most of their time in the server.

    Every peer has two workers. This server has one, and as many as it chooses. The tutorial's app serves only
    ImageNet's classes.
    """
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits = [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
    rows: list[Contender] = []
    for contender in own:
        for workers, setup in (("1", "1 worker"), ("0", "as many workers as it chooses")):
            variables = {**contender.variables, "GOLDFISH_WORKERS": workers}
            name = contender.name if workers == "0" else f"{contender.name}, {setup}"
            rows.append(replace(contender, name=name, setup=setup, variables=variables))
    return [*rows, *limits, *peers(project.reference, mlflow_workers=2)]


def goldfish(project: Project, bundle: ServedBundle, **variables: str) -> Contender:
    """This server with a bundle of the project."""
    model = project.layout.model
    settings = {
        "GOLDFISH_BUNDLE": str(bundle.path),
        "GOLDFISH_PINS": "{folder}/pins",
        "GOLDFISH_REPORTS": str(project.root / "reports"),
        "GOLDFISH_MODEL": model,
        "GOLDFISH_DRAIN": "0",
        "PYTHONPATH": str(ROOT),
    }
    return Contender(
        name=f"Goldfish, {bundle.precision}",
        kind=OURS,
        precision=bundle.precision,
        setup="one process, a slot for each core",
        path="/inference",
        wire_format=wire_formats.raw(wire_formats.highest_confidence),
        command=[sys.executable, "-m", "serving"],
        variables=settings | variables,
        files={f"pins/{model}.json": Pin(model, 1, bundle.digest).to_bytes()},
    )


def bare_limit(
    bundle: ServedBundle, photos: Sequence[Path], seconds: float, threads: int = 0, inner: int = 1
) -> Contender:
    """The upper bound: a loop without HTTP, on `threads` threads (0: one for each core).

    `inner` is the number of ONNX Runtime threads in each prediction.
    """
    arguments = [bundle.path, seconds, threads or max(1, round(available_cores())), inner, *photos]
    return Contender(
        name=f"the limit, {bundle.precision}",
        kind=LIMIT,
        precision=bundle.precision,
        setup="decode and predict in a loop, a thread for each core, no HTTP",
        path="",
        wire_format=wire_formats.raw(wire_formats.first_class),
        command=[sys.executable, "-m", "benchmarks.serving.bare_limit", *map(str, arguments)],
        variables={"PYTHONPATH": str(ROOT)},
    )


def tutorial() -> Contender:
    """The app that this project began as; `benchmarks.image` builds an image of the same folder."""
    options = ["--chdir", f"{ROOT}/benchmarks/tutorial", "--workers", "4", "--timeout", "120"]
    return Contender(
        name="the tutorial's app",
        kind=TUTORIAL,
        precision=FLOAT,
        setup="Keras eager, Flask, 4 sync workers of Gunicorn",
        path="/inference",
        wire_format=wire_formats.form("image", wire_formats.highest_confidence),
        command=["gunicorn", "--bind", "127.0.0.1:{port}", *options, "app:app"],
        peer="tutorial",
    )


def peers(bundle: ServedBundle, mlflow_workers: int = 1) -> list[Contender]:
    """Other model servers, all with the same float32 graph."""
    variables = {
        "CLASSIFIER_GRAPH": str(bundle.float_graph),
        "CLASSIFIER_LABELS": str(bundle.path / LABELS),
        "CLASSIFIER_PREPROCESSING": str(bundle.path / PREPROCESSING),
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "{other_port}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": "{folder}",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": "{folder}/bentoml",
        "MOSEC_PORT": "{port}",
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_PATH": "{folder}/mosec",
        "PYTRITON_HOME": "{folder}/pytriton",
    }

    def peer(
        folder: str, name: str, setup: str, path: str, wire_format: WireFormat, *command: str
    ) -> Contender:
        path_variable = {"PYTHONPATH": f"{PEERS}{os.pathsep}{PEERS / folder}"}
        return Contender(
            name, PEER, FLOAT, setup, path, wire_format, command, variables | path_variable, folder
        )

    raw = wire_formats.raw(wire_formats.first_class)
    form = wire_formats.form("request", wire_formats.first_class)
    upload = wire_formats.form("image", wire_formats.first_class)
    v2, infer = wire_formats.open_inference(), "/v2/models/imagenet/infer"
    binary = wire_formats.triton_binary()
    mlserver = ["mlserver", "start", f"{PEERS}/mlserver"]
    bento = ["bentoml", "serve", "app:ImageClassifier", "--working-dir", f"{PEERS}/bentoml"]
    bento += ["--host", "127.0.0.1", "--port", "{port}"]
    uvicorn = ["uvicorn", "app:app", "--port", "{port}", "--workers", "2"]
    gunicorn = ["gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread"]
    gunicorn += ["--workers", "5", "--threads", "4", "app:app"]
    mosec, pytriton = ["python", f"{PEERS}/mosec/app.py"], ["python", f"{PEERS}/pytriton/app.py"]
    return [
        mlflow(bundle, mlflow_workers),
        peer("mlserver", "MLServer", "2 parallel workers", infer, v2, *mlserver),
        peer("bentoml", "BentoML", "2 workers", "/classify", raw, *bento),
        peer("litserve", "LitServe", "2 workers", "/predict", form, "python", f"{PEERS}/litserve/app.py"),
        peer("rayserve", "Ray Serve", "2 replicas", "/", raw, "python", f"{PEERS}/rayserve/app.py"),
        peer("mosec", "mosec", "2 workers", "/inference", raw, *mosec),
        peer("pytriton", "PyTriton", "2 instances", infer, binary, *pytriton),
        peer("fastapi", "FastAPI by hand", "2 workers of Uvicorn", "/predict", upload, *uvicorn),
        peer("flask", "Flask by hand", "5 workers of Gunicorn, 4 threads", "/predict", upload, *gunicorn),
    ]


def mlflow(bundle: ServedBundle, workers: int) -> Contender:
    """The bundle served by MLflow, as the model version that it is.

    One worker is the default of its command line. It has a thread pool; with two workers a request takes more
    CPU time, and memory is half as much again.
    """
    serve = ["mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    return Contender(
        name="mlflow models serve",
        kind=PEER,
        precision=bundle.precision,
        setup="1 worker, its default" if workers == 1 else f"{workers} workers",
        path="/invocations",
        wire_format=wire_formats.mlflow_dataframe(),
        command=[*serve, "--workers", str(workers), "--port", "{port}", "-m", str(bundle.path)],
        peer="mlflow",
    )
