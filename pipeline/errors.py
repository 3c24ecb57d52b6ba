"""What can go wrong in the pipeline, as one tree.

    PipelineError
    ├── ParamsInvalid       params.yaml has an unknown, missing or wrong key
    ├── ModelUnknown        nobody described such a model
    ├── NameTaken           a model cannot be renamed so
    ├── RemovalUnconfirmed  a model is removed only when somebody has agreed
    ├── SourceInvalid       a source.yaml recipe that cannot be followed
    ├── ArchiveInvalid      a zip file that is damaged, or not as its recipe says
    ├── SourceUnavailable   data or weights cannot be had
    ├── SourceChanged       a download is not what the recipe promises
    ├── WeightsUnknown      weights or class names that are not the published ones
    ├── PhotosAbsent        a stage must run, and of its photos there is only DVC's record
    ├── DataRefused         images that would spoil the model, all of them listed
    ├── InputMissing        a stage was run before the stage that feeds it
    ├── NothingToCalibrate  8 bits were wanted, and no image is left to find their ranges with
    ├── TrainingDiverged    a network whose weights are no numbers any more
    ├── FileDamaged         a file that a stage has written and somebody changed
    ├── GateRefused         the model is not good enough to be registered
    ├── RegistryUnavailable MLflow does not answer
    ├── RegistryRefused     MLflow is not asked, for others could read or answer
    ├── RegistryDiverted    a variable would let MLflow keep versions in another place
    ├── RegistryMoved       the embedded database still names the files of another folder
    ├── TemporaryFull       TMPDIR has no room
    ├── VersionMissing      the registry lacks what is asked of it
    ├── VersionDamaged      the registry's files are not those of the digest
    ├── PinnedUnavailable   nobody has the pinned bytes, and building gives others
    ├── HistoryShallow      git has only a part of a pin's history
    ├── ChainBroken         a link between data and pin does not hold
    └── CommandFailed       git or DVC ended with an error

Each class builds its own sentence: what was tried, what came instead, what to do.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path


class PipelineError(Exception):
    """Root of the tree: expected, said in a sentence, exit code 1."""


class ParamsInvalid(PipelineError):
    def __init__(self, path: Path, reasons: Iterable[str]) -> None:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"{path} cannot be used; nothing was run:{listed}")


class ModelUnknown(PipelineError):
    def __init__(self, model: str, known: Iterable[str], raw: Path) -> None:
        super().__init__(
            f"There is no model {model!r}. params.yaml describes {', '.join(known) or 'none'}; "
            f"for a new one put photos into {raw}/<class>/ and run `make run MODEL={model}`."
        )


class NameTaken(PipelineError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"No model can be renamed to {name!r}: {reason}. Nothing was changed.")


class RemovalUnconfirmed(PipelineError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"Nothing was removed: `python -m pipeline remove {model} --yes` removes all that is listed."
        )


class SourceInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a recipe that can be followed: {reason}")


class ArchiveInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be unpacked: {reason}. If it is damaged, delete it and run again.")


class SourceUnavailable(PipelineError):
    def __init__(self, what: str, url: str, cached: Path, reason: str) -> None:
        super().__init__(
            f"{what} cannot be had.\n"
            f"  tried: the Keras cache, {cached} (not there)\n"
            f"  tried: downloading {url} ({reason})\n"
            f"  either: run again with a network that reaches it\n"
            f"  or: put the file into a Keras cache, as {cached.parent.name}/{cached.name}, and name that "
            f"folder in KERAS_HOME"
        )


class SourceChanged(PipelineError):
    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(
            f"{path} is not what the recipe promises: its SHA-256 should be {expected} and is {found}. "
            "If it was cut off or exchanged, delete it and run again."
        )


class WeightsUnknown(PipelineError):
    def __init__(self, path: Path, known: Sequence[str], found: str) -> None:
        super().__init__(
            f"{path} is not what is published: its SHA-256 should be {' or '.join(known)} and is {found}. "
            "If it was cut off or exchanged, delete it and run again. If you know whose it is and trust it, "
            "add its SHA-256 to pipeline/imagenet.py."
        )


class DataRefused(PipelineError):
    """`refusals` pairs a file or class with the reason."""

    LISTED = 50

    def __init__(self, folder: Path, refusals: Sequence[tuple[str, str]]) -> None:
        self.refusals = refusals
        lines = [f"\n  {name}: {reason}" for name, reason in refusals[: self.LISTED]]
        if len(refusals) > self.LISTED:
            lines.append(f"\n  ... and {len(refusals) - self.LISTED} more")
        super().__init__(
            f"{folder} has {len(refusals)} problems; nothing was written. Mend or remove:{''.join(lines)}"
        )


class PhotosAbsent(PipelineError):
    def __init__(self, model: str, missing: Path) -> None:
        super().__init__(
            f"{model} cannot be built here: of {missing} there is only DVC's record. `dvc pull` brings it "
            "from a remote that has it, which `dvc remote add` names; or put the same photos there."
        )


class InputMissing(PipelineError):
    def __init__(self, path: Path, model: str) -> None:
        super().__init__(f"{path} is not there. `dvc repro register@{model}` builds all that is missing.")


class NothingToCalibrate(PipelineError):
    def __init__(self, prepared: Path) -> None:
        super().__init__(
            f"{prepared} has neither validation nor training images, and 8 bits need some to calibrate with: "
            f"in {prepared.name}'s section of params.yaml give prepare.valid a share, or set "
            "export.precision to float32."
        )


class TrainingDiverged(PipelineError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"The training of {model} diverged: weights are infinite or no numbers. Lower {model}.build's "
            "learning_rate in params.yaml."
        )


class FileDamaged(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not as it was written: {reason}. `dvc repro -f` writes it again.")


class GateRefused(PipelineError):
    def __init__(self, model: str, digest: str, reasons: Iterable[str]) -> None:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(
            f"{model} {digest[:12]} did not pass its gate and is not registered:{listed}\n"
            f"To measure it again, on a machine with nothing else to do: `dvc repro -f -s evaluate@{model}`"
        )


class RegistryUnavailable(PipelineError):
    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(
            f"The MLflow registry at {uri} does not answer as it should: {reason}\n"
            "Is it running, and MLFLOW_TRACKING_URI right? Without that the embedded one, mlflow.db, is used."
        )


class RegistryRefused(PipelineError):
    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"The MLflow registry at {uri} is not used: {reason}.")


class RegistryDiverted(PipelineError):
    def __init__(self, uri: str, variables: Sequence[str]) -> None:
        super().__init__(
            f"{' and '.join(variables)} would let MLflow keep versions in another place than {uri}, where "
            "runs are and the server looks: unset it, and name one registry in MLFLOW_TRACKING_URI."
        )


class RegistryMoved(PipelineError):
    def __init__(self, database: Path, there: Path, here: Path) -> None:
        super().__init__(
            f"{database} was copied or moved: it keeps its files in {there}, not in {here}. Nothing was read "
            "or written; `python -m pipeline repair <model>` lets it use the files of this folder."
        )


class TemporaryFull(PipelineError):
    def __init__(self, folder: Path, free: int, reason: str) -> None:
        super().__init__(
            f"There is no room for temporary files in {folder}, which has {free / 1e6:,.0f} MB free: "
            f"{reason}. Free some, or name another folder in TMPDIR."
        )


class VersionMissing(PipelineError):
    def __init__(self, model: str, wanted: str, uri: str) -> None:
        super().__init__(f"The registry at {uri} has no {model} with {wanted}.")


class VersionDamaged(PipelineError):
    def __init__(self, model: str, uri: str, reason: str) -> None:
        super().__init__(
            f"{uri} is not what was registered: {reason.rstrip('.')}. `python -m pipeline repair {model}` "
            "puts the right files there, if they can be had here."
        )


class PinnedUnavailable(PipelineError):
    def __init__(self, pin: Path, digest: str, tried: Iterable[str]) -> None:
        listed = "".join(f"\n  {line}" for line in tried)
        super().__init__(
            f"{pin} names {digest}, which cannot be had here. Tried:{listed}\n"
            "Name a registry that has it in MLFLOW_TRACKING_URI; or `dvc push` it from where it was built, "
            "and name that remote in DVC_REMOTE."
        )


class HistoryShallow(PipelineError):
    def __init__(self, pin: Path) -> None:
        super().__init__(
            f"This is a shallow clone, so git does not know which versions {pin} named before and which of "
            "them were withdrawn: `git fetch --unshallow` brings the whole history."
        )


class ChainBroken(PipelineError):
    def __init__(self, link: str, reason: str) -> None:
        super().__init__(f"broken at {link}: {reason}")


class CommandFailed(PipelineError):
    def __init__(self, command: Sequence[str], code: int, output: str = "") -> None:
        tail = f": {output.strip()[-2000:]}" if output.strip() else ""
        super().__init__(f"`{' '.join(command)}` ended with exit code {code}{tail}")
