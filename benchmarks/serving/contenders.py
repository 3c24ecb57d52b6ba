"""Who takes part, and how each is started. What their documentation recommends stands in their folders."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import wire
from benchmarks.serving.contender import LIMIT, OURS, PEER, TUTORIAL, Contender, Place
from benchmarks.serving.environments import PEERS
from benchmarks.serving.project import FLOAT, Project, Served
from benchmarks.serving.wire import Wire
from serving.artifact.manifest import LABELS, PREPROCESSING
from serving.artifact.pin import Pin
from serving.cpu_count import available
from tests.serving.servers import free_port

# So that 256 clients are answered, as by the peers, whose queues have no end. By default it refuses some.
QUEUE = {"GOLDFISH_QUEUE": "256", "GOLDFISH_UPLOADS": "256"}


def ours(served: Served, reports: Path, **settings: str) -> Contender:
    """This server with a bundle, which is pinned in a folder of its own."""

    def variables(place: Place) -> Mapping[str, str]:
        pins = place.folder / "pins"
        pins.mkdir(exist_ok=True)
        (pins / "imagenet.json").write_bytes(Pin("imagenet", 1, served.digest).to_bytes())
        told = {"BUNDLE": served.path, "PINS": pins, "REPORTS": reports, "MODEL": "imagenet", "DRAIN": 0}
        own = {f"GOLDFISH_{name}": str(value) for name, value in told.items()}
        return own | {"PYTHONPATH": str(ROOT), **settings}

    return Contender(
        name=f"Goldfish, {served.precision}",
        kind=OURS,
        precision=served.precision,
        setup="one process, a slot for each core",
        path="/inference",
        wire=wire.raw(wire.by_confidence),
        command=lambda place: [sys.executable, "-m", "serving"],
        variables=variables,
    )


def tutorial() -> Contender:
    """The app that this project began as; its folder is shared with the comparison of images."""
    folder = ROOT / "benchmarks/tutorial"
    options = ["--chdir", str(folder), "--workers", "4", "--timeout", "120"]
    return Contender(
        name="the tutorial's app",
        kind=TUTORIAL,
        precision=FLOAT,
        setup="Keras eager, Flask, 4 sync workers of Gunicorn",
        path="/inference",
        wire=wire.form("image", wire.by_confidence),
        command=lambda place: ["gunicorn", "--bind", f"127.0.0.1:{place.port}", *options, "app:app"],
        peer="tutorial",
    )


def peers(served: Served) -> list[Contender]:
    """The servers that people use instead, all with the same float graph."""
    common = {
        "CLASSIFIER_GRAPH": str(served.float_graph),
        "CLASSIFIER_LABELS": str(served.path / LABELS),
        "CLASSIFIER_PREPROCESSING": str(served.path / PREPROCESSING),
    }

    def peer(name: str, title: str, setup: str, path: str, sent: Wire, command: list[str]) -> Contender:
        def variables(place: Place) -> Mapping[str, str]:
            own = {"MLSERVER_HTTP_PORT": str(place.port), "MLSERVER_GRPC_PORT": str(free_port())}
            own |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(place.folder)}
            own |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
            own |= {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.folder / "bentoml")}
            return common | own | {"PYTHONPATH": f"{PEERS}{os.pathsep}{PEERS / name}"}

        def started(place: Place) -> list[str]:
            return [part.format(port=place.port, folder=PEERS / name) for part in command]

        return Contender(title, PEER, FLOAT, setup, path, sent, started, variables, name)

    bento = "bentoml serve app:ImageClassifier --working-dir {folder} --host 127.0.0.1 --port {port}"
    return [
        mlflow(served),
        peer("mlserver", "MLServer", "2 parallel workers", "/v2/models/imagenet/infer",
             wire.inference_protocol(wire.first_output), ["mlserver", "start", "{folder}"]),
        peer("bentoml", "BentoML", "2 workers", "/classify", wire.raw(wire.first), bento.split()),
        peer("litserve", "LitServe", "2 workers", "/predict",
             wire.form("request", wire.first), ["python", "{folder}/app.py"]),
        peer("rayserve", "Ray Serve", "2 replicas", "/", wire.raw(wire.first), ["python", "{folder}/app.py"]),
    ]  # fmt: skip


def mlflow(served: Served) -> Contender:
    """The bundle as the MLflow model that it is: the bytes of the registered version.

    One worker is what its command line does by itself. It answers on threads; two take more of the processor
    for an answer, and half as much memory again.
    """
    serve = ["mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    return Contender(
        name="mlflow models serve",
        kind=PEER,
        precision=served.precision,
        setup="1 worker, its default",
        path="/invocations",
        wire=wire.dataframe(wire.first_prediction),
        command=lambda place: [*serve, "--port", str(place.port), "-m", str(served.path)],
        peer="mlflow",
    )


def limit(
    served: Served, photos: Sequence[Path], seconds: float, threads: int = 0, inner: int = 1
) -> Contender:
    """No server at all: a thread for each core, or so many, decode and classify in a loop."""
    counts = [str(seconds), str(threads or max(1, round(available()))), str(inner)]
    loop = [sys.executable, "-m", "benchmarks.serving.limit", str(served.path), *counts, *map(str, photos)]
    return Contender(
        name=f"the limit, {served.precision}",
        kind=LIMIT,
        precision=served.precision,
        setup="decode and predict in a loop, a thread for each core, no HTTP",
        path="",
        wire=wire.raw(wire.first),
        command=lambda place: loop,
        variables=lambda place: {"PYTHONPATH": str(ROOT)},
    )


def all_of(project: Project, seconds: float, quick: bool) -> list[Contender]:
    """The rows of a run; a quick one leaves the peers out."""
    reports = project.root / "reports"
    own = [ours(served, reports, **QUEUE) for served in project.bundles]
    limits = [limit(served, project.sent, seconds) for served in project.bundles]
    return [*own, *limits, tutorial(), *([] if quick else peers(project.reference))]
