"""The model repository: the names, versions and labels under which requests address the served models.

`<name>` takes encoded images, `<name>_tensor` takes pixels. A request that names neither version nor label is
answered by the active version. While a candidate is on trial or the previous version is still loaded, these
can be addressed too. Nobody asks the registry while a request is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.api.errors import ModelUnknown
from serving.api.model_versions import ModelVersions, Role
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Label
from serving.artifact.manifest import PROBABILITIES
from serving.artifact.pin import Pin
from serving.config import TENSOR_SUFFIX
from serving.updates.trial import Trial

# The active version has the alias `champion` in the registry, and a candidate the alias `challenger`.
LABELS: dict[Role, str] = {"active": "champion", "candidate": "challenger", "previous": "previous"}
ALIAS = LABELS["active"]
# Names of the model's input and output.
INPUT, OUTPUT = "image", PROBABILITIES


@dataclass(frozen=True)
class ModelEntry:
    """One version of a model under one name. With `pixels` it takes uint8 [N,*shape], else encoded images."""

    model: ServedModel
    pixels: bool
    role: Role = "active"
    # The numbers of all versions that are loaded, and the trial of a candidate.
    versions: tuple[str, ...] = ()
    trial: Trial | None = None

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
    def label(self) -> str:
        return LABELS[self.role]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.model.predictor.preprocessing.shape

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.model.labels


class ModelRepository:
    """The served models. `default` answers requests that name none."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self.models = tuple(ModelVersions(model) for model in models)

    @property
    def default(self) -> ServedModel:
        """The active version of the first model."""
        return self.models[0].active

    @property
    def active(self) -> tuple[ServedModel, ...]:
        """The active version of each model."""
        return tuple(each.active for each in self.models)

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """Both names of each model, with the active version."""
        return tuple(_of(each, pixels)[0] for each in self.models for pixels in (False, True))

    @property
    def all_entries(self) -> tuple[ModelEntry, ...]:
        """The same with all versions that are loaded."""
        return tuple(entry for each in self.models for pixels in (False, True) for entry in _of(each, pixels))

    def find(self, name: str, version: str | None = None, label: str | None = None) -> ModelEntry:
        """The entry that a path addresses; raises `ModelUnknown`."""
        for versions in self.models:
            if name in (versions.name, versions.name + TENSOR_SUFFIX):
                entries = _of(versions, pixels=name != versions.name)
                return _choose(entries, version, label)
        raise ModelUnknown("model", [entry.name for entry in self.entries])


def _of(versions: ModelVersions, pixels: bool) -> list[ModelEntry]:
    """The loaded versions under one name, the active one first."""
    loaded = versions.loaded
    numbers = tuple(sorted({str(model.pin.version) for _, model in loaded}, key=int))
    return [ModelEntry(model, pixels, role, numbers, loaded.trial) for role, model in loaded]


def _choose(entries: list[ModelEntry], version: str | None, label: str | None) -> ModelEntry:
    if version is not None:
        found = [entry for entry in entries if entry.version == version]
        if not found:
            raise ModelUnknown("version", [entry.version for entry in entries])
        return found[0]
    if label is not None:
        found = [entry for entry in entries if entry.label == label]
        if not found:
            raise ModelUnknown("label", [entry.label for entry in entries])
        return found[0]
    return entries[0]
