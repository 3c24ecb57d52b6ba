"""What can go wrong in the pipeline, as one tree.

    PipelineError
    ├── ParamsInvalid       params.yaml has an unknown, missing or wrong key
    ├── ModelNameInvalid    a model cannot be called so
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
    ├── FoldersUnclear      photos that lie so that it is not clear what they show
    ├── InputMissing        a stage was run before the stage that feeds it
    ├── NothingToCalibrate  8 bits were wanted, and no image is left to find their ranges with
    ├── NotProbabilities    a model whose answers do not add up to 1
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
    ├── RepositoryMissing   the project is no git repository, or has no commit
    └── CommandFailed       git or DVC ended with an error

Each class builds its own sentence: what was tried, what came instead, what to do.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote


class PipelineError(Exception):
    """Root of the tree: expected, said in a sentence, exit code 1."""


class ParamsInvalid(PipelineError):
    def __init__(self, path: Path, reasons: Iterable[str]) -> None:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"{path} cannot be used; nothing was run:{listed}")


class ModelNameInvalid(PipelineError):
    """Told with a name that is allowed; with `raw`, the folder of models' photos, also how to get there."""

    def __init__(self, name: str, suggested: str, raw: Path | None = None) -> None:
        message = (
            f"{name!r} cannot be a model's name: these begin with a letter and have a to z, 0 to 9, - and _, "
            f"at most 63 characters, and are no words that YAML takes for others. Call it {suggested}"
        )
        if raw is not None and (raw / suggested).is_dir():
            message += f": `make run MODEL={suggested}`; {raw / suggested} is there"
        elif raw is not None:
            there = Path(name).name == name and (raw / name).is_dir()
            move = f"`mv {quote(str(raw / name))} {raw / suggested}` and " if there else ""
            message += f": {move}`make run MODEL={suggested}`"
        super().__init__(f"{message}.")


class ModelUnknown(PipelineError):
    """`instead` is what lies beside `raw`, its folder, under a name that may be meant."""

    def __init__(self, model: str, known: Iterable[str], raw: Path, instead: Path | None = None) -> None:
        there = ""
        if instead is not None:
            how = "rename it" if instead.is_dir() else "unpack it"
            pull = f"`dvc pull {instead}` fetches its photos"
            there = f" {instead} is there: {pull if instead.suffix == '.dvc' else f'{how}, to {raw}/'}."
        super().__init__(
            f"There is no model {model!r}. params.yaml describes {', '.join(known) or 'none'}; "
            f"for a new one put photos into {raw}/<class>/ and run `make run MODEL={model}`.{there}"
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
            "add its SHA-256 to pipeline/network/imagenet.py."
        )


class DataRefused(PipelineError):
    """`refusals` pairs a file or class with the reason. Equal reasons are told once."""

    LISTED = 15
    NAMES = 3

    def __init__(self, folder: Path, refusals: Sequence[tuple[str, str]]) -> None:
        self.refusals = refusals
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, reason in refusals:
            # Reasons that differ in numbers only, as sizes in pixels, are one.
            groups.setdefault(re.sub(r"\d[\d,.]*", "#", reason), []).append((name, reason))
        ordered = sorted(groups.values(), key=len, reverse=True)
        lines = [f"\n  {self._line(group)}" for group in ordered[: self.LISTED]]
        if rest := sum(map(len, ordered[self.LISTED :])):
            lines.append(f"\n  ... and {rest:,} more, for {len(ordered) - self.LISTED:,} other reasons")
        super().__init__(
            f"{folder} has {len(refusals):,} problem{'s' * (len(refusals) > 1)}; nothing was written. "
            f"Mend or remove:{''.join(lines)}"
        )

    def _line(self, group: Sequence[tuple[str, str]]) -> str:
        names = ", ".join(name for name, _ in group[: self.NAMES])
        more = f" and {len(group) - self.NAMES:,} more" if len(group) > self.NAMES else ""
        return f"{names}{more}: {group[0][1]}"


class FoldersUnclear(PipelineError):
    def __init__(self, folder: Path, found: str, advice: str) -> None:
        super().__init__(f"{folder} cannot be used as it is: {found}. {advice}.")


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


class NotProbabilities(PipelineError):
    def __init__(self, image: Path, low: float, high: float, total: float) -> None:
        super().__init__(
            f"The model answers {image} with values from {low:.4g} to {high:.4g} that add up to {total:.4g}: "
            "these are no probabilities, which are from 0 to 1 and add up to 1. Logits need a softmax as the "
            "last layer of the network; independent labels (sigmoid) are not what this pipeline measures."
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
            f"More images of the classes that do badly in reports/{model}/README.md help, or other params in "
            f"{model}.build; the floors are in {model}.evaluate of params.yaml. If only the latency is too "
            f"high, measure it again on a machine with nothing else to do: `dvc repro -f -s evaluate@{model}`"
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


class RepositoryMissing(PipelineError):
    def __init__(self, folder: Path, reason: str, advice: str) -> None:
        super().__init__(
            f"{folder} cannot be worked in: DVC and the history of pins need a git repository with a commit, "
            f"and a zip download is none ({reason}). Once: `{advice}`"
        )


class CommandFailed(PipelineError):
    def __init__(self, command: Sequence[str], code: int, output: str = "") -> None:
        tail = f": {output.strip()[-2000:]}" if output.strip() else ""
        super().__init__(f"`{' '.join(command)}` ended with exit code {code}{tail}")
