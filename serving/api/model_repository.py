"""The model repository: the names, version and label under which the protocols address the served model.

`<name>` takes encoded images, `<name>_tensor` takes pixels. There is one version, the pinned one, and one
label: the pinned version has the alias `champion` in the registry. The registry is not queried while serving.
"""

from dataclasses import dataclass

from serving.api.errors import ModelUnknown
from serving.artifact.bundle import Label
from serving.artifact.pin import Pin

ALIAS = "champion"
TENSOR_SUFFIX = "_tensor"
# Names of the model's input and output.
INPUT, OUTPUT = "image", "probabilities"


@dataclass(frozen=True)
class ModelEntry:
    """One name of the model. With `pixels` it takes uint8 [N,S,S,3], else encoded images; `size` is S."""

    name: str
    pixels: bool
    pin: Pin
    size: int
    labels: tuple[Label, ...]

    @property
    def version(self) -> str:
        return str(self.pin.version)


class ModelRepository:
    """The entries, found by name."""

    def __init__(self, pin: Pin, size: int, labels: tuple[Label, ...]) -> None:
        self.images = ModelEntry(pin.name, False, pin, size, labels)
        self.tensors = ModelEntry(pin.name + TENSOR_SUFFIX, True, pin, size, labels)
        self.entries = (self.images, self.tensors)

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
