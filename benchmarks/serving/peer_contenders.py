"""The other servers, and how each is started.

The folders under `peers/` hold each peer's application, the settings that its documentation recommends, and
its exact requirements.
"""

import os
import sysconfig
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import wire_formats
from benchmarks.serving.contenders import PEER, TUTORIAL, Contender
from benchmarks.serving.environments import PEERS
from benchmarks.serving.project import FLOAT, ServedBundle
from benchmarks.serving.wire_formats import WireFormat
from serving.artifact.manifest import LABELS, PREPROCESSING


def tutorial(keras_home: Path | None) -> Contender:
    """The app that this project began as; `benchmarks.image` builds an image of the same folder.

    `keras_home` holds its weights; without one, Keras looks for them itself, and downloads them if need be.
    """
    options = ["--chdir", f"{ROOT}/benchmarks/tutorial", "--workers", "4", "--timeout", "120"]
    return Contender(
        name="the tutorial's app",
        kind=TUTORIAL,
        precision=FLOAT,
        setup="Keras eager, Flask, 4 sync workers of Gunicorn",
        path="/inference",
        wire_format=wire_formats.form("image", wire_formats.highest_confidence),
        command=["gunicorn", "--bind", "127.0.0.1:{port}", *options, "app:app"],
        variables={"KERAS_HOME": str(keras_home)} if keras_home else {},
        venv="tutorial",
    )


def peers(bundle: ServedBundle, two_workers: bool = False) -> list[Contender]:
    """Other model servers, all with the same float32 graph.

    With `two_workers` those have two workers too for which their documentation recommends another number.
    """
    variables = _variables(bundle)

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
    flask_workers = "2" if two_workers else "5"
    gunicorn += ["--workers", flask_workers, "--threads", "4", "app:app"]
    flask = f"{flask_workers} workers of Gunicorn with 4 threads"
    mosec = ["python", f"{PEERS}/mosec/app.py"]
    # PyTriton's documentation asks for this folder: Triton would load the libpython of the system.
    libraries = f"LD_LIBRARY_PATH={sysconfig.get_config_var('LIBDIR')}"
    pytriton = ["env", libraries, "python", f"{PEERS}/pytriton/app.py"]
    return [
        mlflow(bundle, 2 if two_workers else 1),
        peer("mlserver", "MLServer", "2 parallel workers", infer, v2, *mlserver),
        peer("bentoml", "BentoML", "2 workers", "/classify", raw, *bento),
        peer("litserve", "LitServe", "2 workers", "/predict", form, "python", f"{PEERS}/litserve/app.py"),
        peer("rayserve", "Ray Serve", "2 replicas", "/", raw, "python", f"{PEERS}/rayserve/app.py"),
        peer("mosec", "mosec", "2 workers", "/inference", raw, *mosec),
        peer("pytriton", "PyTriton", "2 instances", infer, binary, *pytriton),
        peer("fastapi", "FastAPI by hand", "2 workers of Uvicorn", "/predict", upload, *uvicorn),
        peer("flask", "Flask by hand", flask, "/predict", upload, *gunicorn),
    ]


def mlflow(bundle: ServedBundle, workers: int) -> Contender:
    """The bundle served by MLflow, as the model version that it is.

    One worker is the default of its command line. It has a thread pool; with two workers a request takes more
    CPU time, and memory is half as much again.
    """
    serve = ["mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    options = [] if workers == 1 else ["--workers", str(workers)]
    return Contender(
        name="mlflow models serve",
        kind=PEER,
        precision=bundle.precision,
        setup="1 worker, its default" if workers == 1 else f"{workers} workers",
        path="/invocations",
        wire_format=wire_formats.mlflow_dataframe(),
        command=[*serve, *options, "--port", "{port}", "-m", str(bundle.path)],
        venv="mlflow",
    )


def _variables(bundle: ServedBundle) -> dict[str, str]:
    """What `peers/classifier.py` and the servers read from the environment."""
    return {
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
