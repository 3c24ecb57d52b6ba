"""The servers that are compared, and how each is started.

The folders under `peers/` hold each peer's application, the settings that its documentation recommends, and
its exact requirements.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import wire_formats
from benchmarks.serving.environments import PEERS, bin_folder
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
class Instance:
    """The port of one started contender, and a temporary folder for its files."""

    port: int
    folder: Path


@dataclass(frozen=True)
class Contender:
    """One row of the table. `peer` names its folder under `peers/`, if it has an environment of its own."""

    name: str
    kind: str
    precision: str
    setup: str
    path: str
    wire_format: WireFormat
    command: Callable[[Instance], list[str]]
    variables: Callable[[Instance], Mapping[str, str]] = lambda instance: {}
    peer: str = ""

    def environment(self, instance: Instance) -> dict[str, str]:
        """Environment variables of its processes: the current ones without those that configure a server."""
        foreign = ("GOLDFISH_", "MLFLOW_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # No bytecode: it would be written into the bundle.
        kept |= {"PORT": str(instance.port), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.peer:
            kept["PATH"] = f"{bin_folder(self.peer)}{os.pathsep}{kept['PATH']}"
        return kept | dict(self.variables(instance))


def all_contenders(project: Project, seconds: float, quick: bool) -> list[Contender]:
    """The rows of a run; a quick run leaves out the peers."""
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits = [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
    return [*own, *limits, tutorial(), *([] if quick else peers(project.reference))]


def goldfish(project: Project, bundle: ServedBundle, **variables: str) -> Contender:
    """This server with a bundle of the project, which is pinned in a temporary folder."""

    def settings(instance: Instance) -> Mapping[str, str]:
        pins = instance.folder / "pins"
        pins.mkdir(exist_ok=True)
        (pins / "imagenet.json").write_bytes(Pin("imagenet", 1, bundle.digest).to_bytes())
        return {
            "GOLDFISH_BUNDLE": str(bundle.path),
            "GOLDFISH_PINS": str(pins),
            "GOLDFISH_REPORTS": str(project.root / "reports"),
            "GOLDFISH_MODEL": "imagenet",
            "GOLDFISH_DRAIN": "0",
            "PYTHONPATH": str(ROOT),
            **variables,
        }

    return Contender(
        name=f"Goldfish, {bundle.precision}",
        kind=OURS,
        precision=bundle.precision,
        setup="one process, a slot for each core",
        path="/inference",
        wire_format=wire_formats.raw(wire_formats.highest_confidence),
        command=lambda instance: [sys.executable, "-m", "serving"],
        variables=settings,
    )


def bare_limit(
    bundle: ServedBundle, photos: Sequence[Path], seconds: float, threads: int = 0, inner: int = 1
) -> Contender:
    """The upper bound: a loop without HTTP, on `threads` threads (0: one for each core).

    `inner` is the number of ONNX Runtime threads in each prediction.
    """
    counts = [str(seconds), str(threads or max(1, round(available_cores()))), str(inner)]
    module = "benchmarks.serving.bare_limit"
    loop = [sys.executable, "-m", module, str(bundle.path), *counts, *map(str, photos)]
    return Contender(
        name=f"the limit, {bundle.precision}",
        kind=LIMIT,
        precision=bundle.precision,
        setup="decode and predict in a loop, a thread for each core, no HTTP",
        path="",
        wire_format=wire_formats.raw(wire_formats.first_class),
        command=lambda instance: loop,
        variables=lambda instance: {"PYTHONPATH": str(ROOT)},
    )


def tutorial() -> Contender:
    """The app that this project began as; `benchmarks.image` builds an image of the same folder."""
    folder = ROOT / "benchmarks/tutorial"
    options = ["--chdir", str(folder), "--workers", "4", "--timeout", "120"]
    return Contender(
        name="the tutorial's app",
        kind=TUTORIAL,
        precision=FLOAT,
        setup="Keras eager, Flask, 4 sync workers of Gunicorn",
        path="/inference",
        wire_format=wire_formats.form("image", wire_formats.highest_confidence),
        command=lambda instance: ["gunicorn", "--bind", f"127.0.0.1:{instance.port}", *options, "app:app"],
        peer="tutorial",
    )


def peers(bundle: ServedBundle) -> list[Contender]:
    """Other model servers, all with the same float32 graph."""

    def variables(peer: str, instance: Instance) -> Mapping[str, str]:
        return {
            "CLASSIFIER_GRAPH": str(bundle.float_graph),
            "CLASSIFIER_LABELS": str(bundle.path / LABELS),
            "CLASSIFIER_PREPROCESSING": str(bundle.path / PREPROCESSING),
            "MLSERVER_HTTP_PORT": str(instance.port),
            "MLSERVER_GRPC_PORT": str(free_port()),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(instance.folder),
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(instance.folder / "bentoml"),
            "PYTHONPATH": f"{PEERS}{os.pathsep}{PEERS / peer}",
        }

    def peer(
        folder: str, name: str, setup: str, path: str, wire_format: WireFormat, command: str
    ) -> Contender:
        return Contender(
            name=name,
            kind=PEER,
            precision=FLOAT,
            setup=setup,
            path=path,
            wire_format=wire_format,
            command=lambda instance: [
                part.format(port=instance.port, folder=PEERS / folder) for part in command.split()
            ],
            variables=lambda instance: variables(folder, instance),
            peer=folder,
        )

    first, raw = wire_formats.first_class, wire_formats.raw(wire_formats.first_class)
    bentoml = "bentoml serve app:ImageClassifier --working-dir {folder} --host 127.0.0.1 --port {port}"
    v2 = wire_formats.open_inference(wire_formats.first_output)
    script = "python {folder}/app.py"
    return [
        mlflow(bundle),
        peer(
            "mlserver",
            "MLServer",
            "2 parallel workers",
            "/v2/models/imagenet/infer",
            v2,
            "mlserver start {folder}",
        ),
        peer("bentoml", "BentoML", "2 workers", "/classify", raw, bentoml),
        peer("litserve", "LitServe", "2 workers", "/predict", wire_formats.form("request", first), script),
        peer("rayserve", "Ray Serve", "2 replicas", "/", raw, script),
    ]


def mlflow(bundle: ServedBundle) -> Contender:
    """The bundle served by MLflow, as the model version that it is.

    One worker is the default of its command line. It has a thread pool; with two workers a request takes more
    CPU time, and memory is half as much again.
    """
    serve = ["mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    return Contender(
        name="mlflow models serve",
        kind=PEER,
        precision=bundle.precision,
        setup="1 worker, its default",
        path="/invocations",
        wire_format=wire_formats.mlflow_dataframe(wire_formats.first_prediction),
        command=lambda instance: [*serve, "--port", str(instance.port), "-m", str(bundle.path)],
        peer="mlflow",
    )
