"""The MLflow registry: the only file that talks to MLflow's server or database.

By default it is embedded: `mlflow.db` and `mlartifacts/` at the root of the repository.
`MLFLOW_TRACKING_URI` names another one.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, LifecycleStage, Metric, Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import RegistryRefused, RegistryUnavailable, VersionDamaged, VersionMissing
from pipeline.params import Environment
from serving.bundle import MANIFEST, Bundle
from serving.errors import ServingError
from serving.registry import Credentials, elsewhere, exposed, shown

DATABASE, ARTIFACTS = Path("mlflow.db"), Path("mlartifacts")
# Alias of the version that is served, and of the newest that may be.
CHAMPION, CHALLENGER = "champion", "challenger"
# Tags of a version: its identity, and what the pin calls a version that another registry numbered.
DIGEST, PINNED_AS = "digest", "pinned_as"
# How often something is tried that another process may be doing at the same moment.
ATTEMPTS = 3


@dataclass(frozen=True)
class Version:
    """A registered version of a model."""

    name: str
    number: int
    digest: str
    run_id: str | None
    pinned_as: int | None

    @property
    def uri(self) -> str:
        """What MLflow calls it."""
        return f"models:/{self.name}/{self.number}"

    @property
    def numbers(self) -> set[int]:
        """What a pin may call it."""
        return {self.number} | ({self.pinned_as} if self.pinned_as else set())


@dataclass(frozen=True)
class Record:
    """What is kept of a version besides its files: how it was made and how good it is."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    data_digest: str
    data_source: str
    reports: Path
    description: str


@dataclass(frozen=True)
class Registry:
    """An MLflow registry that has answered."""

    uri: str
    client: mlflow.MlflowClient

    @classmethod
    def connect(cls, environment: Environment) -> Self:
        """Opens the registry; `RegistryUnavailable` if it does not answer within seconds.

        `RegistryRefused` before anything is sent, if others could read user, password or token on the way.
        """
        uri = environment.tracking_uri or f"sqlite:///{DATABASE.resolve()}"
        if reason := exposed(uri, _credentials(environment)):
            raise RegistryRefused(shown(uri), reason)
        # MLflow's own patience is several minutes.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)  # type: ignore[no-untyped-call]
        # One bar for twenty small files says nothing.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
        # Artifacts are looked up by the global setting, whatever the client was given.
        mlflow.set_tracking_uri(uri)
        # The client opens the database, and creates its tables if they are not there.
        with _answering(uri), _lock(uri):
            client = mlflow.MlflowClient(uri)
            client.search_registered_models(max_results=1)
        return cls(uri, client)

    @property
    def shown(self) -> str:
        """The URI without user and password."""
        return _shown(self.uri)

    @property
    def embedded(self) -> bool:
        """Is it a file of this machine, and no server?"""
        return _embedded(self.uri)

    def answering(self) -> AbstractContextManager[None]:
        """Turns MLflow's errors into one sentence."""
        return _answering(self.uri)

    def find(self, name: str, digest: str) -> Version | None:
        """The version with this digest; the first one, should there be several."""
        with self.answering():
            found = self.client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
        versions = sorted((_version(entry) for entry in found), key=lambda version: version.number)
        return versions[0] if versions else None

    def get(self, name: str, digest: str) -> Version:
        """The version with this digest, or `VersionMissing`."""
        version = self.find(name, digest)
        if version is None:
            raise VersionMissing(name, f"digest {digest}", self.shown)
        return version

    def numbered(self, name: str, number: int) -> Version:
        """The version with this number, or `VersionMissing`."""
        with self.answering():
            found = self.client.search_model_versions(f"name = '{name}' and version_number = {number}")
        version = _version(found[0]) if found else None
        # Whoever registers by another way leaves no digest.
        if version is None or not version.digest:
            raise VersionMissing(name, f"version {number} that has a digest", self.shown)
        return version

    def champion(self, name: str) -> Version | None:
        """The version that the alias `champion` names."""
        with self.answering():
            try:
                return _version(self.client.get_model_version_by_alias(name, CHAMPION))
            except MlflowException as error:
                if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    return None
                raise

    def set_alias(self, version: Version, alias: str) -> None:
        with self.answering():
            self.client.set_registered_model_alias(version.name, alias, str(version.number))

    def set_pinned_as(self, version: Version, number: int) -> None:
        """Notes that the pin names this version by the number that another registry gave it."""
        with self.answering():
            self.client.set_model_version_tag(version.name, str(version.number), PINNED_AS, str(number))

    def register(self, bundle: Bundle, record: Record) -> Version:
        """Adds a bundle as a version, or finds the one that has its digest: also when others do the same now.

        Two registrations may both find nothing and both add. So each looks again afterwards: the lowest
        number stays, and whoever has another one takes that back.
        """
        name = bundle.manifest.name
        with _lock(self.uri):
            if there := self.find(name, bundle.digest):
                return there
            with self.answering():
                added = self._add(name, bundle, record)
            first = self.get(name, bundle.digest)
            if first.number != added:
                with self.answering():
                    self.client.delete_model_version(name, str(added))
            return first

    @contextmanager
    def downloaded(self, name: str, digest: str) -> Iterator[Path]:
        """Yields a folder with the files of the version with this digest, as the registry has them."""
        number = str(self.get(name, digest).number)
        with TemporaryDirectory(prefix="goldfish-") as folder:
            with self.answering():
                place = self._own(self.client.get_model_version_download_uri(name, number))
                path = Path(
                    mlflow.artifacts.download_artifacts(place, dst_path=folder, tracking_uri=self.uri)
                )
            yield path

    def verify(self, version: Version) -> None:
        """Downloads a version and checks every byte; `VersionDamaged` names the file that was changed."""
        with self.downloaded(version.name, version.digest) as folder:
            try:
                bundle = Bundle.open(folder)
                if bundle.digest != version.digest:
                    raise VersionDamaged(
                        version.uri, f"{MANIFEST} was changed, its digest is {bundle.digest}"
                    )
                bundle.check_name(version.name)
                bundle.verify(bytecode=False)
            except ServingError as error:
                # The download is a temporary copy; the file is known by its name in the version.
                raise VersionDamaged(version.uri, str(error).replace(f"{folder}/", "")) from error

    def _own(self, location: str) -> str:
        """The location, unless it is another host's, to which MLflow would send user and password too."""
        if elsewhere(location, self.uri):
            raise RegistryRefused(self.shown, f"it names {shown(location)} for files, another host")
        return location

    def _add(self, name: str, bundle: Bundle, record: Record) -> int:
        experiment = self._experiment(name)
        now = int(1000 * time.time())
        tags = {**record.tags, DIGEST: bundle.digest}
        run = self.client.create_run(experiment, tags=tags, run_name=bundle.digest[:12])
        run_id = run.info.run_id
        try:
            self._own(run.info.artifact_uri)
            self.client.log_batch(
                run_id,
                metrics=[Metric(key, value, now, 0) for key, value in record.metrics.items()],
                params=[Param(key, value) for key, value in record.params.items()],
            )
            # MLflow holds 36 characters of a data set's digest; the tags have the whole one.
            data = Dataset(name, record.data_digest[:36], "local", record.data_source)
            self._note_data(run_id, data)
            self.client.log_artifacts(run_id, str(record.reports), "report")
            # Not mlflow.keras.log_model, which would save the model anew and so with other bytes.
            model = self.client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags)
            self._own(model.artifact_location)
            with _upload_copy(bundle) as files:
                self.client.log_model_artifacts(model.model_id, str(files))
            self.client.finalize_logged_model(model.model_id, "READY")
            self._registered_model(name, record.description)
            version = self.client.create_model_version(
                name, f"models:/{model.model_id}", run_id, tags=tags, model_id=model.model_id
            )
        except BaseException:
            # What went wrong first is what is said, also if the registry cannot note it any more.
            with suppress(MlflowException):
                self.client.set_terminated(run_id, "FAILED")
            raise
        self.client.set_terminated(run_id, "FINISHED")
        return int(version.version)

    def _note_data(self, run_id: str, data: Dataset) -> None:
        """Two runs that note the same new data at once collide inside MLflow; the next attempt finds them."""
        for _ in range(ATTEMPTS - 1):
            with suppress(MlflowException):
                self.client.log_inputs(run_id, [DatasetInput(data, [])])
                return
        self.client.log_inputs(run_id, [DatasetInput(data, [])])

    def _experiment(self, name: str) -> str:
        there = self.client.get_experiment_by_name(name)
        if there is None:
            location = ARTIFACTS.resolve().as_uri() if self.embedded else None
            with _unless_there():
                self.client.create_experiment(name, artifact_location=location)
        elif there.lifecycle_stage == LifecycleStage.DELETED:
            self.client.restore_experiment(there.experiment_id)
        return str(self.client.search_experiments(filter_string=f"name = '{name}'")[0].experiment_id)

    def _registered_model(self, name: str, description: str) -> None:
        with _unless_there():
            self.client.create_registered_model(name, description=description)


def _credentials(environment: Environment) -> Credentials:
    """What MLflow would send: it also reads a file in the home folder."""
    user, password = read_mlflow_creds()
    return Credentials(
        user or "", password or "", environment.tracking_token, plain_http=environment.plain_http
    )


@contextmanager
def _unless_there() -> Iterator[None]:
    """Creates what another process may have created a moment ago."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RegistryUnavailable(_shown(uri), reason.replace(uri, _shown(uri))) from error


@contextmanager
def _lock(uri: str) -> Iterator[None]:
    """Keeps other processes from creating the embedded database's tables, or a version, meanwhile."""
    if _embedded(uri):
        with FileLock(f"{uri.removeprefix('sqlite:///')}.lock"):
            yield
    else:
        yield


def _embedded(uri: str) -> bool:
    return uri.startswith("sqlite:")


def _shown(uri: str) -> str:
    if _embedded(uri):
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _upload_copy(bundle: Bundle) -> Iterator[Path]:
    """A folder with just the bundle's files: Python may have left bytecode beside its code."""
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name) / "bundle"
        shutil.copytree(bundle.path, folder, ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


def _version(entry: ModelVersion) -> Version:
    tags: dict[str, Any] = entry.tags
    pinned_as = tags.get(PINNED_AS)
    return Version(
        entry.name,
        int(entry.version),
        tags.get(DIGEST, ""),
        entry.run_id,
        int(pinned_as) if pinned_as else None,
    )
