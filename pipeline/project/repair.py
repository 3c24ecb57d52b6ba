"""`repair <model>`: repairs registry, alias and pin after a copy, a move, or the loss of files.

What needs a decision, or bytes that cannot be found, is reported with the command that helps.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from pipeline.environment import Environment
from pipeline.errors import HistoryShallow, PipelineError, VersionDamaged
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registry import dvc_cache, pin_history
from pipeline.registry.embedded_database import EmbeddedDatabase
from pipeline.registry.mlflow_files import artifact_uri, restore_files, verify_files
from pipeline.registry.mlflow_registry import CHAMPION, RegisteredVersion, Registry
from pipeline.registry.pin_history import PinCommit
from pipeline.registry.pin_signature import find_signature, has_signature_of, replace_file
from pipeline.registry.registration import ensure_registered
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.errors import PinInvalid, PinMissing, ServingError


class RepairStatus(StrEnum):
    """The outcome for one item that was checked, as it is printed."""

    OK = "ok"
    REPAIRED = "mended"
    NOT_REPAIRED = "NOT mended"


@dataclass(frozen=True)
class RepairResult:
    """One line of the output of `repair`."""

    status: RepairStatus
    text: str

    def __str__(self) -> str:
        return f"{self.status:<11}{self.text}"


def repair(layout: Layout, environment: Environment) -> Iterator[RepairResult]:
    """Checks and repairs, in this order: database paths, pin, files of the versions, alias, signature."""
    old_folders = _relocate_database(environment)
    for folder in old_folders:
        yield _repaired(f"mlflow.db no longer leads to {folder}")
    registry = Registry.connect(environment)
    yield _repair_pin_file(layout)
    for version in registry.list_versions(layout.model):
        yield _repair_version(layout, registry, version, old_folders)
    with suppress(PinMissing, PinInvalid):
        yield from _repair_alias(layout, registry, Pin.read(layout.pin))
        yield from _repair_signature(layout, registry, Pin.read(layout.pin))


def _ok(text: str) -> RepairResult:
    return RepairResult(RepairStatus.OK, text)


def _repaired(text: str) -> RepairResult:
    return RepairResult(RepairStatus.REPAIRED, text)


def _not_repaired(text: str) -> RepairResult:
    return RepairResult(RepairStatus.NOT_REPAIRED, text)


def _relocate_database(environment: Environment) -> list[Path]:
    """Makes all paths in the embedded database lead to this folder; returns the folders that they led to."""
    database = EmbeddedDatabase.of_project(environment)
    if database is None or not database.path.exists():
        return []
    with database.lock():
        folders = database.foreign_artifact_folders()
        for folder in folders:
            database.relocate(folder, database.artifacts)
    return folders


def _repair_pin_file(layout: Layout) -> RepairResult:
    """Restores a pin from git if the file is missing or invalid."""
    path, commits = layout.pin, pin_history.history(layout.pin)
    try:
        pin = Pin.read(path)
    except PinMissing as error:
        if pin_history.is_tracked(path) and commits:
            return _restore_pin(path, commits[0], "was not there")
        return _ok(str(error))
    except PinInvalid as error:
        if pin_history.is_unmerged(path):
            advice = f"`git checkout --ours -- {path}` or `--theirs` takes one side"
            return _not_repaired(f"{path} is in conflict: {advice}, then `git add {path}`")
        if commits:
            return _restore_pin(path, commits[0], "could not be read")
        return _not_repaired(f"{error} git knows none: `python -m pipeline promote {layout.model}`")
    return _check_uncommitted_pin(layout, pin, commits)


def _restore_pin(path: Path, entry: PinCommit, reason: str) -> RepairResult:
    write(path, entry.pin.to_bytes())
    return _repaired(
        f"{path} {reason}: version {entry.pin.version} again, as commit {entry.commit[:10]} has it"
    )


def _check_uncommitted_pin(layout: Layout, pin: Pin, commits: list[PinCommit]) -> RepairResult:
    """Reports an uncommitted pin of a withdrawn version, which may be intended or merely outdated."""
    if commits and commits[0].pin.digest != pin.digest:
        committed = commits[0].pin
        try:
            if pin_history.was_replaced(layout.pin, committed, pin.digest):
                return _not_repaired(
                    f"{layout.pin} names version {pin.version}, which was pinned before and replaced by "
                    f"version {committed.version}: `git checkout -- {layout.pin}` undoes that, a commit "
                    "confirms it"
                )
        except HistoryShallow as error:
            return _not_repaired(str(error))
    return _ok(f"{layout.pin}: version {pin.version}")


def _repair_version(
    layout: Layout, registry: Registry, version: RegisteredVersion, old_folders: list[Path]
) -> RepairResult:
    """Verifies the files of a version, and restores them from the first source that has the same bytes."""
    try:
        verify_files(registry, version)
    except VersionDamaged as error:
        damage = str(error).partition(". `python")[0]
    else:
        return _ok(f"{version.uri}: every byte is as it was registered")
    uri = artifact_uri(registry, version)
    for source, find in (
        ("the workspace", partial(_workspace_bundle, layout)),
        ("the old folder", partial(_find_in_old_folder, registry, uri, old_folders)),
        ("DVC's cache", partial(_copy_from_dvc_cache, version.digest)),
    ):
        with TemporaryDirectory(prefix="goldfish-") as folder, suppress(ServingError, PipelineError, OSError):
            bundle = Bundle.open(find(Path(folder)))
            if bundle.digest == version.digest:
                bundle.verify(allow_bytecode=False)
                restore_files(registry, version, bundle)
                verify_files(registry, version)
                return _repaired(f"{version.uri}: files put back from {source}")
    advice = f"`dvc fetch --all-commits {layout.bundle}` may bring them from a remote, then repair again"
    return _not_repaired(f"{damage}; neither workspace nor DVC's cache has these bytes: {advice}")


def _workspace_bundle(layout: Layout, _: Path) -> Path:
    return layout.bundle


def _find_in_old_folder(registry: Registry, uri: str, old_folders: list[Path], empty: Path) -> Path:
    """The files of a version that a copy registered into the original project's folder, or `empty`."""
    artifacts = registry.artifact_folder
    path = Path(unquote(urlsplit(uri).path))
    if artifacts is None or not path.is_relative_to(artifacts):
        return empty
    candidates = (folder / path.relative_to(artifacts) for folder in old_folders)
    return next((candidate for candidate in candidates if candidate.is_dir()), empty)


def _copy_from_dvc_cache(digest: str, empty: Path) -> Path:
    dvc_cache.copy_bundle(digest, empty)
    return empty


def _repair_alias(layout: Layout, registry: Registry, pin: Pin) -> Iterator[RepairResult]:
    """Registers the pinned version if it is missing, then sets its `pinned_as` tag and the alias."""
    version = registry.find_by_digest(pin.name, pin.digest)
    if version is None:
        version = _register_pinned(layout, registry, pin)
        if version is None:
            advice = f"`python -m pipeline fetch {pin.name}` brings or builds the bundle, then repair again"
            yield _not_repaired(
                f"{registry.display_uri} has no version with the digest {pin.digest} of the pin: {advice}"
            )
            return
        yield _repaired(f"{version.uri}: registered from {layout.bundle}, as it was pinned")
    if pin.version not in version.accepted_numbers:
        registry.set_pinned_as(version, pin.version)
        yield _repaired(f"{version.uri} is noted as the version {pin.version} of the pin")
    champion = registry.champion(pin.name)
    if champion is not None and champion.digest == pin.digest:
        yield _ok(f"the alias champion is version {champion.number}, as pinned")
    else:
        registry.set_alias(version, CHAMPION)
        before = "nothing" if champion is None else f"version {champion.number}"
        yield _repaired(f"the alias champion is version {version.number}, no longer {before}")


def _repair_signature(layout: Layout, registry: Registry, pin: Pin) -> Iterator[RepairResult]:
    """Replaces a signature that is damaged or of another digest by the registry's, or removes it."""
    if not layout.signature.exists() or has_signature_of(layout, pin.digest):
        return
    version = registry.find_by_digest(pin.name, pin.digest)
    signature = find_signature(layout, registry, version) if version else None
    replace_file(layout.signature, signature)
    how = "put back from the registry" if signature else "removed; the registry has none either"
    yield _repaired(f"{layout.signature} was not a signature of version {pin.version}: {how}")


def _register_pinned(layout: Layout, registry: Registry, pin: Pin) -> RegisteredVersion | None:
    """Registers the workspace's bundle if it is the pinned one and passed its gate."""
    with suppress(ServingError, PipelineError):
        if Bundle.open(layout.bundle).digest == pin.digest:
            return ensure_registered(layout, registry)
    return None
