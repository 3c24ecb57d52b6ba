"""The memory limit of a server whose models change."""

import threading

from serving.api.model_repository import ModelRepository
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import GRAPH, SERVING
from serving.explanation.explainer import SESSION_COPIES
from serving.server.memory import MemoryLimit


class ModelMemory:
    """Keeps the limit at what the loaded versions need. `explains`: does the server explain predictions?"""

    def __init__(self, models: ModelRepository, explains: bool) -> None:
        self._models, self._explains = models, explains
        self._at_start = {model.pin.digest for model in models.active}
        self._limit = MemoryLimit(None, 0)
        # Bytes for versions that are being loaded, by model.
        self._loading: dict[str, int] = {}
        self._lock = threading.Lock()

    def set_limit(self, limit: MemoryLimit) -> None:
        """Applies a limit, whose base includes the versions that were loaded at the start."""
        self._limit = limit
        self.update()

    def allow(self, bundle: Bundle) -> None:
        """Makes room for a version that is about to be loaded, until `update`."""
        with self._lock:
            self._loading[bundle.manifest.name] = load_bytes(bundle)
            self._apply()

    def update(self, loaded: str = "") -> None:
        """Sets the limit again; the model `loaded` is not being loaded any more."""
        with self._lock:
            self._loading.pop(loaded, None)
            self._apply()

    def _apply(self) -> None:
        versions = (model for each in self._models.models for _, model in each.loaded)
        self._limit.allow(sum(map(self._needed, versions)) + sum(self._loading.values()))

    def _needed(self, model: ServedModel) -> int:
        later = model.explainer.later_bytes if self._explains else 0
        return later if model.pin.digest in self._at_start else later + load_bytes(model.release.bundle)


def load_bytes(bundle: Bundle) -> int:
    """Upper bound of what is allocated when a version is loaded: its files, and ONNX Runtime's copies."""
    files = bundle.manifest.files
    own = sum(file.size for file in files.values() if file.role == SERVING)
    return own + SESSION_COPIES * files[GRAPH].size
