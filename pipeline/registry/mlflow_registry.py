"""The MLflow registry: the only file that talks to MLflow's server or database.

By default it is embedded: `mlflow.db` and `mlartifacts/` at the root of the repository.
`MLFLOW_TRACKING_URI` names another one.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.environment import Environment
from pipeline.errors import (
    RegistryMoved,
    RegistryRefused,
    RegistryUnavailable,
    RegistryVariablesConflict,
    VersionDamaged,
    VersionMissing,
)
from pipeline.files import report_full_disk
from pipeline.registry import relocation
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import MANIFEST
from serving.artifact.registry.address import (
    SQLITE,
    Credentials,
    is_other_host,
    plaintext_exposure,
    without_credentials,
)
from serving.errors import ServingError

DATABASE, ARTIFACTS = Path("mlflow.db"), Path("mlartifacts")
# Alias of the version that is served, and of the newest that may be.
CHAMPION, CHALLENGER = "champion", "challenger"
# Tags of a version: its identity, and what the pin calls a version that another registry numbered.
DIGEST, PINNED_AS = "digest", "pinned_as"
# Tag of a registered model: the name under which it goes on.
RENAMED = "renamed_to"
# Seconds for a database server to let us in, and how the drivers of each kind call that.
PATIENCE = 10
TIMEOUTS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "mssql": "timeout"}
# How often something is tried that another process may be doing at the same moment.
ATTEMPTS = 3


@dataclass(frozen=True)
class Database:
    """The file of an embedded registry."""

    path: Path

    @classmethod
    def of(cls, environment: Environment) -> Self | None:
        """The project's own; `None` if the environment names another registry."""
        path = (environment.project_folder / DATABASE).absolute()
        uri = address(environment)
        return cls(path) if _embedded(uri) and _file(uri) == path else None

    @property
    def artifacts(self) -> Path:
        """Where the files are: beside the database, or where a link there leads."""
        return (self.path.parent / ARTIFACTS).resolve()


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
        uri = address(environment)
        if environment.conflicting_variables:
            raise RegistryVariablesConflict(without_credentials(uri), environment.conflicting_variables)
        if reason := plaintext_exposure(uri, _credentials(environment)):
            raise RegistryRefused(without_credentials(uri), reason)
        # MLflow's own patience is several minutes.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)  # type: ignore[no-untyped-call]
        # One bar for twenty small files says nothing.
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
        # Artifacts are looked up by the global setting, whatever the client was given.
        mlflow.set_tracking_uri(uri)
        # The client opens the database, and creates its tables if they are not there.
        with _answering(uri), _lock(uri):
            _reach(uri)
            client = mlflow.MlflowClient(uri, uri)
            client.search_registered_models(max_results=1)
        result = cls(uri, client)
        result._check_place(environment)
        return result

    def _check_place(self, environment: Environment) -> None:
        """`RegistryMoved` if the project's own database has its files in another folder."""
        if own := Database.of(environment):
            for there in relocation.foreign(own.path, own.artifacts):
                raise RegistryMoved(own.path, there, own.artifacts)

    @property
    def shown(self) -> str:
        """The URI without user and password."""
        return _shown(self.uri)

    @property
    def embedded(self) -> bool:
        """Is it a file of this machine, and no server?"""
        return _embedded(self.uri)

    @property
    def artifacts(self) -> Path | None:
        """The folder of files of an embedded registry: beside the database, wherever this runs."""
        return Database(_file(self.uri)).artifacts if self.embedded else None

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

    def versions(self, name: str) -> list[Version]:
        """All versions that have a digest, oldest first."""
        with self.answering():
            found = map(_version, self.client.search_model_versions(f"name = '{name}'"))
            return sorted((it for it in found if it.digest), key=lambda it: it.number)

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
                self._describe(name, record.description)
                return there
            with self.answering():
                added = self._add(name, bundle, record)
            first = self.get(name, bundle.digest)
            if first.number != added:
                with self.answering():
                    self.client.delete_model_version(name, str(added))
            return first

    @contextmanager
    def downloaded(self, version: Version) -> Iterator[Bundle]:
        """Yields the files of a version; if one byte is another one, `VersionDamaged` names the file."""
        with TemporaryDirectory(prefix="goldfish-") as name:
            folder = Path(name)
            with report_full_disk(folder), self.answering():
                self._download(version, folder)
            try:
                bundle = Bundle.open(folder)
                if bundle.digest != version.digest:
                    raise VersionDamaged(
                        version.name, version.uri, f"{MANIFEST} was changed, its digest is {bundle.digest}"
                    )
                bundle.check_name(version.name)
                bundle.verify(allow_bytecode=False)
            except ServingError as error:
                # The download is a temporary copy; the file is known by its name in the version.
                reason = str(error).replace(f"{folder}/", "")
                raise VersionDamaged(version.name, version.uri, reason) from error
            yield bundle

    def verify(self, version: Version) -> None:
        """Downloads a version and checks every byte."""
        with self.downloaded(version):
            pass

    def holds(self, version: Version, bundle: Bundle) -> bool:
        """Are all files of the bundle there, with their sizes? What they hold only `verify` can tell."""
        wanted = {name: file.size for name, file in bundle.manifest.files.items()}
        wanted[MANIFEST] = (bundle.path / MANIFEST).stat().st_size
        with self.answering():
            return dict(_sizes(self._repository(version))) == wanted

    def restore(self, version: Version, bundle: Bundle) -> None:
        """Puts the files of a bundle with the same digest where a version's were lost or changed."""
        if bundle.digest != version.digest:
            raise VersionDamaged(version.name, version.uri, f"{bundle.path} has digest {bundle.digest}")
        with self.answering(), _upload_copy(bundle) as files:
            repository = self._repository(version)
            for path, _ in list(_sizes(repository)):
                if path != MANIFEST and path not in bundle.manifest.files:
                    repository.delete_artifacts(path)  # type: ignore[no-untyped-call]
            repository.log_artifacts(str(files))  # type: ignore[no-untyped-call]

    def location(self, version: Version) -> str:
        """Where MLflow has the files of a version."""
        with self.answering():
            return self._own(self.client.get_model_version_download_uri(version.name, str(version.number)))

    def _repository(self, version: Version) -> ArtifactRepository:
        return get_artifact_repository(self.location(version), tracking_uri=self.uri)

    def _download(self, version: Version, folder: Path) -> None:
        repository = self._repository(version)
        if not repository.list_artifacts():
            reason = f"there are no files at {without_credentials(self.location(version))}"
            raise VersionDamaged(version.name, version.uri, reason)
        repository.download_artifacts("", str(folder))  # type: ignore[no-untyped-call]

    def remove(self, name: str) -> None:
        """Deletes a registered model with its versions, and its runs as far as MLflow can bring them back."""
        with self.answering():
            if self._registered(name):
                self.client.delete_registered_model(name)
            experiment = self.client.get_experiment_by_name(name)
            if experiment is not None and experiment.lifecycle_stage != LifecycleStage.DELETED:
                self.client.delete_experiment(experiment.experiment_id)

    def note_renamed(self, old: str, new: str) -> int:
        """Notes on a registered model under which name it goes on; gives how many versions it has."""
        with self.answering():
            if self._registered(old):
                self.client.set_registered_model_tag(old, RENAMED, new)
        return len(self.versions(old))

    def _registered(self, name: str) -> bool:
        return bool(self.client.search_registered_models(f"name = '{name}'"))

    def _own(self, location: str) -> str:
        """The location, unless it is another host's, to which MLflow would send user and password too."""
        if is_other_host(location, self.uri):
            raise RegistryRefused(
                self.shown, f"it names {without_credentials(location)} for files, another host"
            )
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
                # Whatever MLFLOW_ENABLE_ASYNC_LOGGING says: a stage may end before a queue is empty.
                synchronous=True,
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
            self._describe(name, record.description)
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
            location = self.artifacts.as_uri() if self.artifacts else None
            with _unless_there():
                self.client.create_experiment(name, artifact_location=location)
        elif there.lifecycle_stage == LifecycleStage.DELETED:
            self.client.restore_experiment(there.experiment_id)
        return str(self.client.search_experiments(filter_string=f"name = '{name}'")[0].experiment_id)

    def _describe(self, name: str, description: str) -> None:
        """Creates the registered model, or gives it the description that params.yaml has by now."""
        with self.answering():
            with _unless_there():
                self.client.create_registered_model(name, description=description)
            if self.client.get_registered_model(name).description != description:
                self.client.update_registered_model(name, description)


def address(environment: Environment) -> str:
    """Where the registry is; that of a file is absolute, for an experiment may run in another folder."""
    uri = environment.tracking_uri or f"{SQLITE}{DATABASE}"
    local = uri.startswith(SQLITE)
    return f"{SQLITE}{(environment.project_folder / uri.removeprefix(SQLITE)).absolute()}" if local else uri


def _file(uri: str) -> Path:
    """The database of an embedded registry."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def _reach(uri: str) -> None:
    """Connects to a database server once: MLflow itself tries ten times, which takes two minutes and more."""
    if (
        not _embedded(uri)
        and (engine := make_url(uri).get_backend_name() if "://" in uri else "") in TIMEOUTS
    ):
        options = {TIMEOUTS[engine]: PATIENCE}
        with create_engine(uri, poolclass=NullPool, connect_args=options).connect():
            pass


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
    # ImportError: SQLAlchemy lacks the driver of a database.
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RegistryUnavailable(_shown(uri), reason.replace(uri, _shown(uri))) from error


@contextmanager
def _lock(uri: str) -> Iterator[None]:
    """Keeps other processes from creating the embedded database's tables, or a version, meanwhile."""
    with locked(_file(uri)) if _embedded(uri) else nullcontext():
        yield


def locked(database: Path) -> AbstractContextManager[object]:
    """Whoever holds it is the only process that changes the embedded registry."""
    return FileLock(f"{database}.lock")


def _embedded(uri: str) -> bool:
    return uri.startswith("sqlite:")


def _shown(uri: str) -> str:
    if _embedded(uri):
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _sizes(repository: ArtifactRepository, folder: str = "") -> Iterator[tuple[str, int]]:
    """Every file of an artifact store, by its path there, and its size."""
    for entry in repository.list_artifacts(folder or None):
        if entry.is_dir:
            yield from _sizes(repository, entry.path)
        else:
            yield entry.path, int(entry.file_size or 0)


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
