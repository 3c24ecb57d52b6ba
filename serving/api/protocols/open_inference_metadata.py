"""What the Open Inference Protocol tells about the server and its models, and Triton's extensions of that."""

from dataclasses import asdict
from typing import Any, Literal

from msgspec import Struct

from serving.api.model_repository import INPUT, OUTPUT, Entry
from serving.api.model_statistics import Figures, Spent
from serving.api.protocols.json_pixels import CHANNELS

SERVER, VERSION = "goldfish", "0.1.0"
EXTENSIONS = ("classification", "binary_tensor_data", "model_configuration", "statistics")
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"


class ServerMetadata(Struct):
    """The server, and what it can do besides the protocol."""

    name: str
    version: str
    extensions: list[str]


class Live(Struct):
    """The server is there."""

    live: Literal[True] = True


class ServerReady(Struct):
    """The server answers as it was measured."""

    live: Literal[True] = True
    ready: Literal[True] = True


class ModelReady(Struct):
    """The model answers as it was measured."""

    name: str
    ready: Literal[True] = True


class TensorMetadata(Struct):
    """An input or output; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """What goes in and comes out."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(Struct):
    """The same in Triton's words. Sizes are texts, as protocol buffers have long numbers in JSON."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class IndexEntry(Struct):
    """A model that could be asked."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


class ModelStatistics(Struct):
    """How often a model was asked and how long that took."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, dict[str, int]]
    batch_stats: list[dict[str, Any]]


class Statistics(Struct):
    """Of one model or of all."""

    model_stats: list[ModelStatistics]


def server() -> ServerMetadata:
    """The server."""
    return ServerMetadata(SERVER, VERSION, list(EXTENSIONS))


def metadata(entry: Entry) -> ModelMetadata:
    """One model."""
    kind, dimensions = _input(entry)
    return ModelMetadata(
        entry.name,
        [entry.version],
        PLATFORM,
        [TensorMetadata(INPUT, kind, [-1, *dimensions])],
        [TensorMetadata(OUTPUT, "FP32", [-1, len(entry.labels)])],
    )


def config(entry: Entry, limit: int) -> ModelConfig:
    """One model, which takes up to `limit` images at once."""
    kind, dimensions = _input(entry)
    given = {
        "name": INPUT,
        "data_type": "TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}",
        "format": "FORMAT_NHWC" if entry.pixels else "FORMAT_NONE",
        "dims": [str(size) for size in dimensions],
    }
    found = {"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [str(len(entry.labels))]}
    return ModelConfig(entry.name, PLATFORM, BACKEND, limit, [given], [found])


def index(entries: tuple[Entry, ...], stops: bool) -> list[IndexEntry]:
    """All models; `stops`: is the server about to?"""
    if stops:
        return [IndexEntry(e.name, e.version, "UNAVAILABLE", "the server is about to stop") for e in entries]
    return [IndexEntry(e.name, e.version, "READY") for e in entries]


def statistics(entry: Entry, figures: Figures) -> ModelStatistics:
    """One model; images go through the network one by one, so executions are images."""
    times: dict[str, Spent] = {
        "success": figures.success,
        "fail": figures.fail,
        "queue": figures.queue,
        "compute_input": figures.decode,
        "compute_infer": figures.inference,
        "compute_output": Spent(),
    }
    stats = {name: asdict(spent) for name, spent in times.items()}
    count = figures.images
    return ModelStatistics(entry.name, entry.version, figures.last, count, count, stats, [])


def _input(entry: Entry) -> tuple[str, list[int]]:
    if entry.pixels:
        return "UINT8", [entry.size, entry.size, CHANNELS]
    return "BYTES", [1]
