"""The memory limit of a worker whose models change."""

import threading
from collections.abc import Iterable

from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import GRAPH, SERVING
from serving.explanation.explainer import SESSION_COPIES
from serving.server.memory import MemoryLimit


class ModelMemory:
    """Keeps the limit at what the loaded versions need. `explains`: does the server explain predictions?"""

    def __init__(self, loaded: Iterable[ServedModel], explains: bool) -> None:
        self._explains = explains
        self._at_start = {model.pin.digest for model in loaded}
        self._needed = {model.pin.name: self._bytes_of(model) for model in loaded}
        self._limit = MemoryLimit(None, 0)
        self._lock = threading.Lock()

    def set_limit(self, limit: MemoryLimit) -> None:
        """Applies a limit, whose base includes the versions that were loaded at the start."""
        with self._lock:
            self._limit = limit
            self._limit.allow(sum(self._needed.values()))

    def hold(self, name: str, loaded: Iterable[ServedModel], loading: Bundle | None = None) -> None:
        """Makes room for the versions of a model that are loaded, and for one that is about to be."""
        needed = sum(map(self._bytes_of, loaded)) + (load_bytes(loading) if loading else 0)
        with self._lock:
            self._needed[name] = needed
            self._limit.allow(sum(self._needed.values()))

    def _bytes_of(self, model: ServedModel) -> int:
        later = model.explainer.later_bytes if self._explains else 0
        return later if model.pin.digest in self._at_start else later + load_bytes(model.release.bundle)


def load_bytes(bundle: Bundle) -> int:
    """Upper bound of what is allocated when a version is loaded: its files, and ONNX Runtime's copies."""
    files = bundle.manifest.files
    own = sum(file.size for file in files.values() if file.role == SERVING)
    return own + SESSION_COPIES * files[GRAPH].size
