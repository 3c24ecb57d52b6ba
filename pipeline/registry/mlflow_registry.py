"""The MLflow registry: looks up versions, sets aliases and tags, deletes and renames models.

`mlflow_connection` opens it, `mlflow_version` adds versions, `mlflow_files` reads and writes their files.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import mlflow
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.environment import Environment
from pipeline.errors import VersionMissing
from pipeline.registry.embedded_database import EmbeddedDatabase, is_embedded, registry_uri
from pipeline.registry.mlflow_connection import display_uri, open_client, translate_errors
from serving.artifact.registry.database import DIGEST_TAG

# Aliases: the version that is served, and the newest that passed its gate.
CHAMPION, CHALLENGER = "champion", "challenger"
# Tag of a version: the number under which a pin knows it, if another registry assigned that number.
PINNED_AS = "pinned_as"
# Tag of a registered model: its new name.
RENAMED_TO = "renamed_to"


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered version of a model, identified by the digest of its bundle."""

    name: str
    number: int
    digest: str
    run_id: str | None
    pinned_as: int | None

    @classmethod
    def from_mlflow(cls, entry: ModelVersion) -> Self:
        tags: dict[str, Any] = entry.tags
        pinned_as = tags.get(PINNED_AS)
        number = int(pinned_as) if pinned_as else None
        return cls(entry.name, int(entry.version), tags.get(DIGEST_TAG, ""), entry.run_id, number)

    @property
    def uri(self) -> str:
        """MLflow's URI of the version."""
        return f"models:/{self.name}/{self.number}"

    @property
    def accepted_numbers(self) -> set[int]:
        """The version numbers that a pin may have for it."""
        return {self.number} | ({self.pinned_as} if self.pinned_as else set())


@dataclass(frozen=True)
class Registry:
    """A connection to an MLflow registry."""

    uri: str
    client: mlflow.MlflowClient

    @classmethod
    def connect(cls, environment: Environment) -> Self:
        """Opens the registry that the environment names; `RegistryMoved` if it belongs to another folder."""
        client = open_client(environment)
        if own := EmbeddedDatabase.of_project(environment):
            own.check_location()
        return cls(registry_uri(environment), client)

    @property
    def display_uri(self) -> str:
        """The URI without user and password."""
        return display_uri(self.uri)

    @property
    def is_embedded(self) -> bool:
        return is_embedded(self.uri)

    @property
    def artifact_folder(self) -> Path | None:
        """The local artifact folder of an embedded registry."""
        return EmbeddedDatabase.at(self.uri).artifacts if self.is_embedded else None

    def translate_errors(self) -> AbstractContextManager[None]:
        """Turns MLflow's errors into `RegistryUnavailable`."""
        return translate_errors(self.uri)

    def find_by_digest(self, name: str, digest: str) -> RegisteredVersion | None:
        """The version with this digest; the lowest number if there are several."""
        versions = self._search(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        return versions[0] if versions else None

    def get_by_digest(self, name: str, digest: str) -> RegisteredVersion:
        """The version with this digest, or `VersionMissing`."""
        version = self.find_by_digest(name, digest)
        if version is None:
            raise VersionMissing(name, f"digest {digest}", self.display_uri)
        return version

    def get_by_number(self, name: str, number: int) -> RegisteredVersion:
        """The version with this number, or `VersionMissing`."""
        versions = self._search(f"name = '{name}' and version_number = {number}")
        # Versions that were registered by other means have no digest.
        if not versions or not versions[0].digest:
            raise VersionMissing(name, f"version {number} that has a digest", self.display_uri)
        return versions[0]

    def list_versions(self, name: str) -> list[RegisteredVersion]:
        """All versions that have a digest, oldest first."""
        return [version for version in self._search(f"name = '{name}'") if version.digest]

    def champion(self, name: str) -> RegisteredVersion | None:
        """The version with the alias `champion`."""
        return self.find_by_alias(name, CHAMPION)

    def find_by_alias(self, name: str, alias: str) -> RegisteredVersion | None:
        """The version with an alias."""
        with self.translate_errors():
            try:
                return RegisteredVersion.from_mlflow(self.client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    return None
                raise

    def set_alias(self, version: RegisteredVersion, alias: str) -> None:
        with self.translate_errors():
            self.client.set_registered_model_alias(version.name, alias, str(version.number))

    def set_pinned_as(self, version: RegisteredVersion, number: int) -> None:
        """Tags a version with the number that the pin has for it, which another registry assigned."""
        with self.translate_errors():
            self.client.set_model_version_tag(version.name, str(version.number), PINNED_AS, str(number))

    def delete_model(self, name: str) -> None:
        """Deletes a registered model with its versions, and its experiment, which MLflow can restore."""
        with self.translate_errors():
            if self._has_model(name):
                self.client.delete_registered_model(name)
            experiment = self.client.get_experiment_by_name(name)
            if experiment is not None and experiment.lifecycle_stage != LifecycleStage.DELETED:
                self.client.delete_experiment(experiment.experiment_id)

    def tag_as_renamed(self, old: str, new: str) -> int:
        """Tags a registered model with its new name; returns how many versions it has."""
        with self.translate_errors():
            if self._has_model(old):
                self.client.set_registered_model_tag(old, RENAMED_TO, new)
        return len(self.list_versions(old))

    def _search(self, condition: str) -> list[RegisteredVersion]:
        with self.translate_errors():
            found = map(RegisteredVersion.from_mlflow, self.client.search_model_versions(condition))
            return sorted(found, key=lambda version: version.number)

    def _has_model(self, name: str) -> bool:
        return bool(self.client.search_registered_models(f"name = '{name}'"))
