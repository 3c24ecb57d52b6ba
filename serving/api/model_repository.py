"""What the server answers to: two names for one model, its version, and the label of what is pinned.

`<name>` takes encoded images, `<name>_tensor` pixels. There is one version, because the pin names one, and
one label: what is pinned is what the registry calls `champion`. Nobody asks the registry while serving.
"""

from dataclasses import dataclass

from serving.api.errors import ModelUnknown
from serving.artifact.bundle import Label
from serving.artifact.pin import Pin

ALIAS = "champion"
SUFFIX = "_tensor"
# What a model's input and output are called.
INPUT, OUTPUT = "image", "probabilities"


@dataclass(frozen=True)
class Entry:
    """One name. `pixels`: does it take uint8 [N,S,S,3] and not encoded images? `size` is S."""

    name: str
    pixels: bool
    pin: Pin
    size: int
    labels: tuple[Label, ...]

    @property
    def version(self) -> str:
        return str(self.pin.version)


class Catalogue:
    """The entries by name."""

    def __init__(self, pin: Pin, size: int, labels: tuple[Label, ...]) -> None:
        self.images = Entry(pin.name, False, pin, size, labels)
        self.tensors = Entry(pin.name + SUFFIX, True, pin, size, labels)
        self.entries = (self.images, self.tensors)

    def find(self, name: str, version: str | None = None, label: str | None = None) -> Entry:
        """What a path names; raises `ModelUnknown`."""
        for entry in self.entries:
            if entry.name == name:
                if version not in (None, entry.version):
                    raise ModelUnknown("version", [entry.version])
                if label not in (None, ALIAS):
                    raise ModelUnknown("label", [ALIAS])
                return entry
        raise ModelUnknown("model", [entry.name for entry in self.entries])
