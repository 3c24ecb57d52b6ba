"""The model repository: the names, versions and labels under which requests address the served models.

`<name>` takes encoded images, `<name>_tensor` takes pixels. Each name has one version, the pinned one, and
one label: the pinned version has the alias `champion` in the registry. The registry is not queried while
serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.api.errors import ModelUnknown
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Label
from serving.artifact.manifest import PROBABILITIES
from serving.artifact.pin import Pin

ALIAS = "champion"
TENSOR_SUFFIX = "_tensor"
# Names of the model's input and output.
INPUT, OUTPUT = "image", PROBABILITIES


@dataclass(frozen=True)
class ModelEntry:
    """One name of a model. With `pixels` it takes uint8 [N,*shape], else encoded images."""

    model: ServedModel
    pixels: bool

    @property
    def pin(self) -> Pin:
        return self.model.pin

    @property
    def name(self) -> str:
        return self.pin.name + TENSOR_SUFFIX if self.pixels else self.pin.name

    @property
    def version(self) -> str:
        return str(self.pin.version)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.model.predictor.preprocessing.shape

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.model.labels


class ModelRepository:
    """The served models. `default` answers requests that name none."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.models = tuple(models)
        self.entries = tuple(ModelEntry(model, pixels) for model in models for pixels in (False, True))

    @property
    def default(self) -> ServedModel:
        """The first model."""
        return self.models[0]

    def find(self, name: str, version: str | None = None, label: str | None = None) -> ModelEntry:
        """The entry that a path addresses; raises `ModelUnknown`."""
        for entry in self.entries:
            if entry.name == name:
                if version not in (None, entry.version):
                    raise ModelUnknown("version", [entry.version])
                if label not in (None, ALIAS):
                    raise ModelUnknown("label", [ALIAS])
                return entry
        raise ModelUnknown("model", [entry.name for entry in self.entries])
