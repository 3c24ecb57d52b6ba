"""Adds a bundle to the MLflow registry: an experiment and a run, a logged model, and its version."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, LifecycleStage, Metric, Param
from mlflow.exceptions import MlflowException

from pipeline.registry.embedded_database import lock_embedded
from pipeline.registry.mlflow_connection import ignore_already_exists
from pipeline.registry.mlflow_files import check_same_host, upload_copy
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from serving.artifact.bundle import Bundle
from serving.artifact.registry.database import DIGEST_TAG

# Attempts at what may collide with another process.
ATTEMPTS = 3
# MLflow stores at most 36 characters of a data set's digest; a tag has all of it.
DATASET_DIGEST_LENGTH = 36


@dataclass(frozen=True)
class VersionMetadata:
    """What is stored with a version besides its files: how it was made and how good it is."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    data_digest: str
    data_source: str
    reports: Path
    description: str


def get_or_create_version(registry: Registry, bundle: Bundle, metadata: VersionMetadata) -> RegisteredVersion:
    """Returns the version with the bundle's digest; adds it if there is none.

    A server has no lock, so two processes may both find none and both add one. Each therefore searches again
    afterwards: the version with the lowest number stays, and the process that added another one deletes it.
    """
    name = bundle.manifest.name
    with lock_embedded(registry.uri):
        if existing := registry.find_by_digest(name, bundle.digest):
            _set_description(registry, name, metadata.description)
            return existing
        with registry.translate_errors():
            added = _create_version(registry, name, bundle, metadata)
        first = registry.get_by_digest(name, bundle.digest)
        if first.number != added:
            with registry.translate_errors():
                registry.client.delete_model_version(name, str(added))
        return first


def _create_version(registry: Registry, name: str, bundle: Bundle, metadata: VersionMetadata) -> int:
    client, experiment = registry.client, _get_or_create_experiment(registry, name)
    tags = {**metadata.tags, DIGEST_TAG: bundle.digest}
    run = client.create_run(experiment, tags=tags, run_name=bundle.digest[:12])
    run_id = run.info.run_id
    try:
        check_same_host(registry, run.info.artifact_uri)
        _log_metadata(registry, run_id, name, metadata)
        # Not mlflow.keras.log_model, which would save the model again, with other bytes.
        model = client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags)
        check_same_host(registry, model.artifact_location)
        with upload_copy(bundle) as files:
            client.log_model_artifacts(model.model_id, str(files))
        client.finalize_logged_model(model.model_id, "READY")
        _set_description(registry, name, metadata.description)
        version = client.create_model_version(
            name, f"models:/{model.model_id}", run_id, tags=tags, model_id=model.model_id
        )
    except BaseException:
        # If the run's status cannot be set either, the first error is the one to report.
        with suppress(MlflowException):
            client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
    return int(version.version)


def _log_metadata(registry: Registry, run_id: str, name: str, metadata: VersionMetadata) -> None:
    now = int(1000 * time.time())
    registry.client.log_batch(
        run_id,
        metrics=[Metric(key, value, now, 0) for key, value in metadata.metrics.items()],
        params=[Param(key, value) for key, value in metadata.params.items()],
        # Overrides MLFLOW_ENABLE_ASYNC_LOGGING: the process may end before an asynchronous queue is written.
        synchronous=True,
    )
    digest = metadata.data_digest[:DATASET_DIGEST_LENGTH]
    _log_dataset(registry, run_id, Dataset(name, digest, "local", metadata.data_source))
    registry.client.log_artifacts(run_id, str(metadata.reports), "report")


def _log_dataset(registry: Registry, run_id: str, dataset: Dataset) -> None:
    """Retries, because two runs that log the same new data set at once collide inside MLflow."""
    for _ in range(ATTEMPTS - 1):
        with suppress(MlflowException):
            registry.client.log_inputs(run_id, [DatasetInput(dataset, [])])
            return
    registry.client.log_inputs(run_id, [DatasetInput(dataset, [])])


def _get_or_create_experiment(registry: Registry, name: str) -> str:
    client = registry.client
    existing = client.get_experiment_by_name(name)
    if existing is None:
        folder = registry.artifact_folder
        with ignore_already_exists():
            client.create_experiment(name, artifact_location=folder.as_uri() if folder else None)
    elif existing.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(existing.experiment_id)
    return str(client.search_experiments(filter_string=f"name = '{name}'")[0].experiment_id)


def _set_description(registry: Registry, name: str, description: str) -> None:
    """Creates the registered model if necessary, and gives it the description of params.yaml."""
    client = registry.client
    with registry.translate_errors():
        with ignore_already_exists():
            client.create_registered_model(name, description=description)
        if client.get_registered_model(name).description != description:
            client.update_registered_model(name, description)
