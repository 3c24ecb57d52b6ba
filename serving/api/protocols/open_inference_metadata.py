"""Metadata of the Open Inference Protocol about server and models, with Triton's extensions."""

from dataclasses import asdict
from typing import Any, Literal

from msgspec import Struct

from serving.api.model_repository import INPUT, OUTPUT, ModelEntry
from serving.api.request_statistics import StatisticsSnapshot, TotalTime

SERVER, VERSION = "goldfish", "0.1.0"
EXTENSIONS = ("classification", "binary_tensor_data", "model_configuration", "statistics")
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"


class ServerMetadata(Struct):
    """The server, and the extensions of the protocol that it supports."""

    name: str
    version: str
    extensions: list[str]


class Live(Struct):
    """The server is running."""

    live: Literal[True] = True


class ServerReady(Struct):
    """The server is ready."""

    live: Literal[True] = True
    ready: Literal[True] = True


class ModelReady(Struct):
    """The model is ready."""

    name: str
    ready: Literal[True] = True


class TensorMetadata(Struct):
    """An input or output; -1 stands for any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """The inputs and outputs of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelConfig(Struct):
    """The same in Triton's format. Sizes are strings, as in the JSON form of protocol buffers."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class IndexEntry(Struct):
    """A model of the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


class ModelStatistics(Struct):
    """Counts and times of a model's requests."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, dict[str, int]]
    batch_stats: list[dict[str, Any]]


class Statistics(Struct):
    """Statistics of one model or of all."""

    model_stats: list[ModelStatistics]


def server() -> ServerMetadata:
    """The server."""
    return ServerMetadata(SERVER, VERSION, list(EXTENSIONS))


def metadata(entry: ModelEntry) -> ModelMetadata:
    """One model."""
    kind, dimensions = _input(entry)
    return ModelMetadata(
        entry.name,
        list(entry.versions),
        PLATFORM,
        [TensorMetadata(INPUT, kind, [-1, *dimensions])],
        [TensorMetadata(OUTPUT, "FP32", [-1, len(entry.labels)])],
    )


def config(entry: ModelEntry, limit: int) -> ModelConfig:
    """One model, which accepts up to `limit` images per request."""
    kind, dimensions = _input(entry)
    model_input = {
        "name": INPUT,
        "data_type": "TYPE_STRING" if kind == "BYTES" else f"TYPE_{kind}",
        "format": "FORMAT_NHWC" if entry.pixels else "FORMAT_NONE",
        "dims": [str(size) for size in dimensions],
    }
    output = {"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [str(len(entry.labels))]}
    return ModelConfig(entry.name, PLATFORM, BACKEND, limit, [model_input], [output])


def index(entries: tuple[ModelEntry, ...], ready: bool) -> list[IndexEntry]:
    """All models; `ready`: is the server ready?"""
    if not ready:
        return [IndexEntry(e.name, e.version, "UNAVAILABLE", "the server is about to stop") for e in entries]
    return [IndexEntry(e.name, e.version, "READY") for e in entries]


def statistics(entry: ModelEntry, totals: StatisticsSnapshot) -> ModelStatistics:
    """One model. Images are classified one by one, so executions equal images."""
    times: dict[str, TotalTime] = {
        "success": totals.success,
        "fail": totals.fail,
        "queue": totals.queue,
        "compute_input": totals.decode,
        "compute_infer": totals.inference,
        "compute_output": TotalTime(),
    }
    stats = {name: asdict(total) for name, total in times.items()}
    count = totals.images
    return ModelStatistics(entry.name, entry.version, totals.last, count, count, stats, [])


def _input(entry: ModelEntry) -> tuple[str, list[int]]:
    if entry.pixels:
        return "UINT8", [*entry.shape]
    return "BYTES", [1]
