"""The files of a registered version in MLflow's artifact store, and its signature: read and write them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.errors import RegistryRefused, VersionDamaged
from pipeline.files import report_full_disk
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from serving.artifact.bundle import Bundle
from serving.artifact.manifest import MANIFEST
from serving.artifact.registry.address import is_other_host, without_credentials
from serving.artifact.signature import MAX_SIGNATURE_BYTES, SIGNATURE
from serving.errors import ServingError


@contextmanager
def downloaded_bundle(registry: Registry, version: RegisteredVersion) -> Iterator[Bundle]:
    """Yields a verified copy of a version's files; `VersionDamaged` names a file that was changed."""
    with TemporaryDirectory(prefix="goldfish-") as name:
        # Signatures name the folder.
        folder = Path(name) / version.name
        folder.mkdir()
        with report_full_disk(Path(name)), registry.translate_errors():
            _download(registry, version, folder)
        try:
            bundle = Bundle.open(folder)
            if bundle.digest != version.digest:
                raise VersionDamaged(
                    version.name, version.uri, f"{MANIFEST} was changed, its digest is {bundle.digest}"
                )
            bundle.check_name(version.name)
            bundle.verify(allow_bytecode=False)
        except ServingError as error:
            # The path of the temporary copy means nothing to the user.
            reason = str(error).replace(f"{folder}/", "")
            raise VersionDamaged(version.name, version.uri, reason) from error
        yield bundle


def verify_files(registry: Registry, version: RegisteredVersion) -> None:
    """Downloads a version and checks every byte."""
    with downloaded_bundle(registry, version):
        pass


def has_all_files(registry: Registry, version: RegisteredVersion, bundle: Bundle) -> bool:
    """Whether the store has exactly the bundle's files, by name and size; `verify_files` checks contents."""
    expected = {name: file.size for name, file in bundle.manifest.files.items()}
    expected[MANIFEST] = (bundle.path / MANIFEST).stat().st_size
    with registry.translate_errors():
        return dict(_file_sizes(_artifact_repository(registry, version))) == expected


def restore_files(registry: Registry, version: RegisteredVersion, bundle: Bundle) -> None:
    """Uploads the files of a bundle with the same digest again, and deletes all other files."""
    if bundle.digest != version.digest:
        raise VersionDamaged(version.name, version.uri, f"{bundle.path} has digest {bundle.digest}")
    with registry.translate_errors(), upload_copy(bundle) as files:
        repository = _artifact_repository(registry, version)
        for path, _ in list(_file_sizes(repository)):
            if path != MANIFEST and path not in bundle.manifest.files:
                repository.delete_artifacts(path)  # type: ignore[no-untyped-call]
        repository.log_artifacts(str(files))  # type: ignore[no-untyped-call]


def artifact_uri(registry: Registry, version: RegisteredVersion) -> str:
    """Where MLflow stores the files of a version."""
    with registry.translate_errors():
        uri = registry.client.get_model_version_download_uri(version.name, str(version.number))
        check_same_host(registry, uri)
        return uri


def check_same_host(registry: Registry, artifacts: str) -> None:
    """Refuses artifact locations on another host, to which MLflow would send user and password too."""
    if is_other_host(artifacts, registry.uri):
        raise RegistryRefused(
            registry.display_uri, f"it names {without_credentials(artifacts)} for files, another host"
        )


def read_signature(registry: Registry, version: RegisteredVersion) -> bytes | None:
    """The signature in the registry, as the server finds it; None if there is none of a possible size."""
    with registry.translate_errors():
        repository = _run_repository(registry, version)
        if repository is None:
            return None
        sizes = {entry.path: int(entry.file_size or 0) for entry in repository.list_artifacts()}
        if not 0 < sizes.get(SIGNATURE, 0) <= MAX_SIGNATURE_BYTES:
            return None
        with TemporaryDirectory(prefix="goldfish-") as folder:
            repository.download_artifacts(SIGNATURE, folder)  # type: ignore[no-untyped-call]
            return (Path(folder) / SIGNATURE).read_bytes()


def write_signature(registry: Registry, version: RegisteredVersion, signature: bytes | None) -> None:
    """Replaces the signature in the registry; None removes it.

    It is an artifact of the version's run. Beside the files of the version it would be one that the manifest
    does not name, which `mlflow.pyfunc.load_model` refuses. Raises `RegistryRefused` without a run.
    """
    with registry.translate_errors():
        repository = _run_repository(registry, version)
        if repository is None:
            reason = f"{version.uri} has no run, among whose artifacts its signature would be"
            raise RegistryRefused(registry.display_uri, reason)
        if signature is None:
            repository.delete_artifacts(SIGNATURE)  # type: ignore[no-untyped-call]
            return
        with TemporaryDirectory(prefix="goldfish-") as folder:
            file = Path(folder) / SIGNATURE
            file.write_bytes(signature)
            repository.log_artifact(str(file))  # type: ignore[no-untyped-call]


@contextmanager
def upload_copy(bundle: Bundle) -> Iterator[Path]:
    """A temporary copy of the bundle without the bytecode that Python may have left beside its code."""
    with TemporaryDirectory(prefix="goldfish-") as name:
        folder = Path(name) / "bundle"
        shutil.copytree(bundle.path, folder, ignore=shutil.ignore_patterns("__pycache__"))
        yield folder


def _run_repository(registry: Registry, version: RegisteredVersion) -> ArtifactRepository | None:
    """The artifacts of the run that made a version; None if the version has no run."""
    if not version.run_id:
        return None
    uri = registry.client.get_run(version.run_id).info.artifact_uri
    check_same_host(registry, uri)
    return get_artifact_repository(uri, tracking_uri=registry.uri)


def _artifact_repository(registry: Registry, version: RegisteredVersion) -> ArtifactRepository:
    return get_artifact_repository(artifact_uri(registry, version), tracking_uri=registry.uri)


def _download(registry: Registry, version: RegisteredVersion, folder: Path) -> None:
    repository = _artifact_repository(registry, version)
    if not repository.list_artifacts():
        reason = f"there are no files at {without_credentials(artifact_uri(registry, version))}"
        raise VersionDamaged(version.name, version.uri, reason)
    repository.download_artifacts("", str(folder))  # type: ignore[no-untyped-call]


def _file_sizes(repository: ArtifactRepository, folder: str = "") -> Iterator[tuple[str, int]]:
    """The path of every file below `folder`, and its size."""
    for entry in repository.list_artifacts(folder or None):
        if entry.is_dir:
            yield from _file_sizes(repository, entry.path)
        else:
            yield entry.path, int(entry.file_size or 0)
