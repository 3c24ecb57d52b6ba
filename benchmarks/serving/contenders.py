"""A server that is compared, and how it is started; this server, and the loop that is its upper bound."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving import wire_formats
from benchmarks.serving.cores import current_split, pinned
from benchmarks.serving.environments import bin_folder
from benchmarks.serving.processes import ProcessTree, process_tree
from benchmarks.serving.project import Project, ServedBundle
from benchmarks.serving.wire_formats import WireFormat
from serving.artifact.pin import Pin
from tests.serving.servers import free_port

OURS, TUTORIAL, LIMIT, PEER = "ours", "tutorial", "limit", "peer"
# The setup of this server that has as many workers as it chooses.
CHOSEN_WORKERS = "as many workers as it chooses"
# Admits all 256 clients, as the peers' unbounded queues do. The default queue would refuse some of them.
LONG_QUEUE = {"GOLDFISH_QUEUE": "256", "GOLDFISH_UPLOADS": "256"}


@dataclass(frozen=True)
class Contender:
    """One row of the table. `venv` names its virtual environment, if it has one of its own (environments.py).

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
    venv: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def start(self, port: int, folder: Path) -> AbstractContextManager[ProcessTree]:
        """Starts the command on the contender's cores; stops its processes when the block ends."""
        foreign = ("GOLDFISH_", "MLFLOW_", "PYTHON")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # No bytecode: it would be written into the bundle.
        environment |= {"PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.venv:
            environment["PATH"] = f"{bin_folder(self.venv)}{os.pathsep}{environment['PATH']}"
        values = {"{port}": port, "{other_port}": free_port(), "{folder}": folder}

        def substitute(text: str) -> str:
            for placeholder, value in values.items():
                text = text.replace(placeholder, str(value))
            return text

        environment |= {name: substitute(text) for name, text in self.variables.items()}
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        command = pinned([substitute(part) for part in self.command], current_split().contender)
        return process_tree(command, folder, environment, folder / "log")


def goldfish(project: Project, bundle: ServedBundle, venv: str = "", **variables: str) -> Contender:
    """This server with a bundle of the project, with this Python or that of a virtual environment."""
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
        command=["python" if venv else sys.executable, "-m", "serving"],
        variables=settings | variables,
        venv=venv,
        files={f"pins/{model}.json": Pin(model, 1, bundle.digest).to_bytes()},
    )


def bare_limit(
    bundle: ServedBundle, photos: Sequence[Path], seconds: float, threads: int = 0, inner: int = 1
) -> Contender:
    """The upper bound: a loop without HTTP, on `threads` threads (0: one for each core of a contender).

    `inner` is the number of ONNX Runtime threads in each prediction.
    """
    arguments = [bundle.path, seconds, threads or current_split().contender_count, inner, *photos]
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
