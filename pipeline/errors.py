"""The errors of the pipeline, as one tree.

    PipelineError
    ├── ParamsInvalid              params.yaml has an unknown, missing or wrong key
    ├── ModelNameInvalid           the name is not allowed for a model
    ├── ModelUnknown               the model has no section in params.yaml
    ├── NameTaken                  a model cannot be renamed to this name
    ├── ImportUndeclared           a model file has no section in params.yaml yet
    ├── ImportRefused              an inspected model cannot be added to the project
    ├── RemovalUnconfirmed         the removal of a model was not confirmed
    ├── SourceInvalid              a source.yaml recipe is wrong
    ├── ArchiveInvalid             a zip file is damaged, or not as its recipe describes it
    ├── SourceUnavailable          data or weights are neither cached nor downloadable
    ├── SourceChanged              a download differs from the recipe's digest
    ├── WeightsUnknown             weights or class names are not the published ones
    ├── PhotosMissing              only the .dvc file of the photos is here, and a stage needs them
    ├── DataRefused                images cannot be used; all of them are listed
    ├── FolderLayoutUnclear        the class of the photos does not follow from their folders
    ├── InputMissing               the preceding stage was not run
    ├── ModelFileUnknown           a model file has none of the formats that can be read
    ├── ModelFileInvalid           a model file is damaged, or not as its format describes it
    ├── ModelFileUnsafe            a model file could run code, or read or write other files
    ├── CustomClassesMissing       a model file needs classes whose code was not declared
    ├── CustomCodeInvalid          the declared Python file cannot be imported
    ├── NetworkUnsuitable          a model file holds something else than a classifier of single images
    ├── ArchitectureUnclear        a file of weights alone, and no architecture that fits is named
    ├── LabelsInvalid              a file of labels is wrong, or has another number than the model's classes
    ├── CalibrationImagesMissing   8 bits are requested, and there is no image to calibrate with
    ├── DeclarationImpossible      a declared preprocessing does not fit the imported model
    ├── PredictionsVary            an imported model gives two answers for one image
    ├── UserFileMissing            a file that params.yaml names is not in data/raw/<model>/
    ├── LabelsUnmatched            a class folder has no label of an imported model
    ├── SizeUndeclared             an imported model takes any size, and none was named
    ├── ClassUnknown               the model has no class with this label or id
    ├── BundleUnknown              what should be compared is neither a version nor a bundle
    ├── LabelSetsDiffer            two bundles to compare do not have the same labels
    ├── ComparisonImpossible       there is no image on which two bundles can be compared
    ├── MethodUnavailable          the model's predictions cannot be explained in this way
    ├── NotProbabilities           the model's outputs do not add up to 1
    ├── WeightsUnsuitable          published weights do not fit the network
    ├── NetworkInvalid             the user's function does not make a network
    ├── NetworkNotConvertible      the network has operators that ONNX does not have
    ├── TrainingDiverged           the trained weights are not finite
    ├── FileDamaged                a file written by a stage was changed
    ├── GateRefused                the model did not pass the gate
    ├── RegistryUnavailable        MLflow does not respond
    ├── RegistryRefused            the tracking URI is not safe to use
    ├── RegistryVariablesConflict  an MLflow variable would split the registry
    ├── RegistryMoved              the embedded database refers to files in another folder
    ├── TemporaryFolderFull        the folder for temporary files has no space
    ├── SigningKeyInvalid          a bundle cannot be signed with this key
    ├── VersionMissing             the registry has no such version
    ├── VersionDamaged             the registry's files do not match the digest
    ├── PinnedUnavailable          the pinned bundle can be neither fetched nor rebuilt
    ├── CommitBuildsAnother        a commit pins another bundle than its code builds
    ├── RebuildDiffers             a model that was built again is not the pinned one
    ├── HistoryShallow             a shallow clone lacks a part of the pin's history
    ├── ChainBroken                a link between data and pin does not match
    ├── RepositoryMissing          the project is not a git repository with a commit
    └── CommandFailed              git or DVC exited with an error

Each class builds its own message: what was tried, what happened instead, what to do.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote


class PipelineError(Exception):
    """Root of the tree: an expected error, printed without a traceback; exit code 1."""


class ParamsInvalid(PipelineError):
    def __init__(self, path: Path, reasons: Iterable[str]) -> None:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(f"{path} cannot be used; nothing was run:{listed}")


class ModelNameInvalid(PipelineError):
    """Suggests an allowed name; with `raw`, the folder of all models' photos, also the commands to use it."""

    def __init__(self, name: str, suggested: str, raw: Path | None = None) -> None:
        message = (
            f"{name!r} cannot be a model's name: these begin with a letter and have a to z, 0 to 9, - and _, "
            f"at most 63 characters, and are not words that YAML reads as another value. Call it {suggested}"
        )
        if raw is not None and (raw / suggested).is_dir():
            message += f": `make run MODEL={suggested}`; {raw / suggested} is there"
        elif raw is not None:
            exists = Path(name).name == name and (raw / name).is_dir()
            move = f"`mv {quote(str(raw / name))} {raw / suggested}` and " if exists else ""
            message += f": {move}`make run MODEL={suggested}`"
        super().__init__(f"{message}.")


class ModelUnknown(PipelineError):
    """`raw` is the model's folder of photos, `similar` a path beside it with a similar name."""

    def __init__(self, model: str, known: Iterable[str], raw: Path, similar: Path | None = None) -> None:
        hint = ""
        if similar is not None:
            action = "rename it" if similar.is_dir() else "unpack it"
            pull = f"`dvc pull {similar}` fetches its photos"
            hint = f" {similar} is there: {pull if similar.suffix == '.dvc' else f'{action}, to {raw}/'}."
        super().__init__(
            f"There is no model {model!r}. params.yaml describes {', '.join(known) or 'none'}; "
            f"for a new one put photos into {raw}/<class>/ and run `make run MODEL={model}`.{hint}"
        )


class NameTaken(PipelineError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"No model can be renamed to {name!r}: {reason}. Nothing was changed.")


class ImportUndeclared(PipelineError):
    def __init__(self, file: Path, has_photos: bool) -> None:
        photos = f" --photos {quote(str(file.parent))}" if has_photos else ""
        super().__init__(
            f"{file} is a model, and params.yaml does not say how its pixels are prepared. This finds it out "
            f"and writes it: `python -m pipeline inspect {quote(str(file))}{photos} --labels <file> --write`."
        )


class ImportRefused(PipelineError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} was not added to the project: {reason}.")


class RemovalUnconfirmed(PipelineError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"Nothing was removed: `python -m pipeline remove {model} --yes` removes all that is listed."
        )


class SourceInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a valid recipe: {reason}")


class ArchiveInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be unpacked: {reason}. If it is damaged, delete it and run again.")


class SourceUnavailable(PipelineError):
    def __init__(self, description: str, url: str, cached: Path, reason: str) -> None:
        super().__init__(
            f"{description} cannot be obtained.\n"
            f"  tried: the Keras cache, {cached} (not there)\n"
            f"  tried: downloading {url} ({reason})\n"
            f"  either: run again with a network that reaches it\n"
            f"  or: put the file into a Keras cache, as {cached.parent.name}/{cached.name}, and name that "
            f"folder in KERAS_HOME"
        )


class SourceChanged(PipelineError):
    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(
            f"{path} does not match its recipe: its SHA-256 should be {expected} and is {found}. "
            "If it was truncated or replaced, delete it and run again."
        )


class WeightsUnknown(PipelineError):
    def __init__(self, path: Path, known: Sequence[str], found: str, algorithm: str = "SHA-256") -> None:
        super().__init__(
            f"{path} is not what is published: its {algorithm} should be {' or '.join(known)} and is "
            f"{found}. If it was truncated or replaced, delete it and run again. If you know its origin and "
            f"trust it, add its {algorithm} to pipeline/network/imagenet.py."
        )


class DataRefused(PipelineError):
    """`refusals` pairs a file or class with its reason. Files with the same reason share a line."""

    MAX_LINES = 15
    MAX_NAMES = 3

    def __init__(self, folder: Path, refusals: Sequence[tuple[str, str]]) -> None:
        self.refusals = refusals
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, reason in refusals:
            # Reasons that differ only in numbers, such as sizes in pixels, are grouped.
            groups.setdefault(re.sub(r"\d[\d,.]*", "#", reason), []).append((name, reason))
        ordered = sorted(groups.values(), key=len, reverse=True)
        lines = [f"\n  {self._line(group)}" for group in ordered[: self.MAX_LINES]]
        if rest := sum(map(len, ordered[self.MAX_LINES :])):
            lines.append(f"\n  ... and {rest:,} more, for {len(ordered) - self.MAX_LINES:,} other reasons")
        super().__init__(
            f"{folder} has {len(refusals):,} problem{'s' * (len(refusals) > 1)}; nothing was written. "
            f"Correct or remove:{''.join(lines)}"
        )

    def _line(self, group: Sequence[tuple[str, str]]) -> str:
        names = ", ".join(name for name, _ in group[: self.MAX_NAMES])
        more = f" and {len(group) - self.MAX_NAMES:,} more" if len(group) > self.MAX_NAMES else ""
        return f"{names}{more}: {group[0][1]}"


class FolderLayoutUnclear(PipelineError):
    def __init__(self, folder: Path, found: str, advice: str) -> None:
        super().__init__(f"{folder} cannot be used as it is: {found}. {advice}.")


class PhotosMissing(PipelineError):
    def __init__(self, model: str, missing: Path) -> None:
        super().__init__(
            f"{model} cannot be built here: only the .dvc file of {missing} is here. `dvc pull` fetches it "
            "from a remote, which `dvc remote add` names; or put the same photos there."
        )


class InputMissing(PipelineError):
    def __init__(self, path: Path, model: str) -> None:
        super().__init__(f"{path} does not exist. `dvc repro register@{model}` builds all that is missing.")


class ModelFileUnknown(PipelineError):
    def __init__(self, path: Path, found: str, advice: str) -> None:
        super().__init__(
            f"{path} is not a model file that can be read: {found}. A Keras file (.keras, .h5), a SavedModel "
            f"folder or an ONNX file can; {advice}."
        )


class ModelFileInvalid(PipelineError):
    def __init__(self, path: Path, reason: str, advice: str = "") -> None:
        super().__init__(
            f"{path} cannot be read: {reason}. "
            f"{advice or 'If it was truncated or changed, copy or download it again'}."
        )


class ModelFileUnsafe(PipelineError):
    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path} was not loaded, and none of it was run: {reason}. {advice}.")


class CustomClassesMissing(PipelineError):
    """`uses` has the names of the layers that use each missing class or function."""

    MAX_NAMES = 5

    def __init__(self, path: Path, uses: Mapping[str, Sequence[str]], code: Path | None) -> None:
        listed = "".join(
            f"\n  {name}, used by {', '.join(layers[: self.MAX_NAMES])}"
            + (f" and {len(layers) - self.MAX_NAMES:,} more" if len(layers) > self.MAX_NAMES else "")
            for name, layers in uses.items()
        )
        where = f"which {code} does not define" if code else "whose code is not in the file"
        super().__init__(
            f"{path} has {'parts' if len(uses) > 1 else 'a part'} {where}:{listed}\n"
            "Put the Python code that defines it, or registers it with "
            "keras.saving.register_keras_serializable, into one file and name that in build.code (`--code` "
            "of inspect). That file is run, so read it first if it is not yours."
        )


class CustomCodeInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}, the declared code of the model, cannot be imported: {reason}. It has to be a Python "
            "file that only defines classes and functions, without what trains the model."
        )


class NetworkUnsuitable(PipelineError):
    def __init__(self, path: Path, found: str, advice: str) -> None:
        super().__init__(f"{path} is not a classifier of single images: {found}. {advice}.")


class ArchitectureUnclear(PipelineError):
    def __init__(self, path: Path, reason: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{path} holds weights without the network they belong to: {reason}. Name the network in "
            f"build.architecture (`--architecture` of inspect), one of {', '.join(known)}; or save the whole "
            'model where it was made: model.save("model.keras").'
        )


class LabelsInvalid(PipelineError):
    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path} cannot be used as labels: {reason}. {advice}.")


class CalibrationImagesMissing(PipelineError):
    def __init__(self, prepared: Path) -> None:
        super().__init__(
            f"{prepared} has neither validation nor training images, and 8 bits need some to calibrate with: "
            f"in {prepared.name}'s section of params.yaml give prepare.valid a share (with prepare.stratify: "
            "false, if classes have fewer than five photos), or set export.precision to float32."
        )


class DeclarationImpossible(PipelineError):
    def __init__(self, file: Path, declared: str, reason: str, advice: str) -> None:
        super().__init__(f"{file} cannot be used with {declared}: {reason}. {advice}")


class PredictionsVary(PipelineError):
    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} gives two different answers for the same images: a layer acts at random, as Dropout "
            "does in training mode. Save the model without that layer, or set its `training` to False."
        )


class UserFileMissing(PipelineError):
    def __init__(self, raw: Path, name: str, key: str, found: Iterable[str]) -> None:
        listed = ", ".join(found) or "no model, labels or Python file"
        super().__init__(
            f"{raw / name} does not exist, and {key} in params.yaml names it. {raw} has {listed}."
        )


class LabelsUnmatched(PipelineError):
    def __init__(self, photos: Path, folders: Sequence[str], labels: Sequence[str]) -> None:
        more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        super().__init__(
            f"The class folders {', '.join(folders)} in {photos} have no label of that name. The labels are "
            f"{', '.join(labels[:20])}{more}. Call a folder like its label, or remove it."
        )


class SizeUndeclared(PipelineError):
    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} takes images of any size, and does not tell the size of its training. Name it, height "
            "first: `--size 224 224`."
        )


class NotProbabilities(PipelineError):
    def __init__(self, image: Path, low: float, high: float, total: float) -> None:
        super().__init__(
            f"The outputs for {image} lie between {low:.4g} and {high:.4g} and add up to {total:.4g}: "
            "probabilities lie between 0 and 1 and add up to 1. Logits need a softmax as the "
            "last layer of the network; independent labels (sigmoid) are not what this pipeline measures."
        )


class WeightsUnsuitable(PipelineError):
    def __init__(self, path: Path, architecture: str, reason: str) -> None:
        super().__init__(
            f"{path} does not fit {architecture}: {' '.join(reason.split())[:300]}. Delete it, and the next "
            "run downloads it again."
        )


class NetworkInvalid(PipelineError):
    def __init__(self, path: Path, function: str, reason: str) -> None:
        super().__init__(
            f"{path}:{function} does not make a network: {reason}. docs/models.md has an example of such a "
            "function, and what it gets and returns."
        )


class NetworkNotConvertible(PipelineError):
    def __init__(self, operators: Sequence[str]) -> None:
        super().__init__(
            f"The network cannot be converted to ONNX: it uses {', '.join(operators)} of TensorFlow, which "
            "ONNX does not have. Build these layers from other operations of keras.ops."
        )


class TrainingDiverged(PipelineError):
    def __init__(self, model: str) -> None:
        super().__init__(
            f"The training of {model} diverged: weights are infinite or NaN. Lower {model}.build's "
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


class RegistryVariablesConflict(PipelineError):
    def __init__(self, uri: str, variables: Sequence[str]) -> None:
        super().__init__(
            f"{' and '.join(variables)} would let MLflow store versions elsewhere than in {uri}, where "
            "runs are stored and the server looks: unset it, and name one registry in MLFLOW_TRACKING_URI."
        )


class RegistryMoved(PipelineError):
    def __init__(self, database: Path, stored: Path, here: Path) -> None:
        super().__init__(
            f"{database} was copied or moved: its files are in {stored}, not in {here}. Nothing was read "
            "or written; `python -m pipeline repair <model>` lets it use the files of this folder."
        )


class TemporaryFolderFull(PipelineError):
    def __init__(self, folder: Path, free: int, reason: str) -> None:
        super().__init__(
            f"There is no space for temporary files in {folder}, which has {free / 1e6:,.0f} MB free: "
            f"{reason}. Free some, or name another folder in TMPDIR."
        )


class SigningKeyInvalid(PipelineError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot sign a bundle: {reason}. Nothing was changed. "
            "`openssl ecparam -genkey -name prime256v1 -noout -out key.pem` makes a key."
        )


class VersionMissing(PipelineError):
    def __init__(self, model: str, wanted: str, uri: str) -> None:
        super().__init__(f"The registry at {uri} has no {model} with {wanted}.")


class VersionDamaged(PipelineError):
    def __init__(self, model: str, uri: str, reason: str) -> None:
        super().__init__(
            f"{uri} is not what was registered: {reason.rstrip('.')}. `python -m pipeline repair {model}` "
            "restores the right files, if they are available here."
        )


class PinnedUnavailable(PipelineError):
    def __init__(self, pin: Path, digest: str, tried: Iterable[str]) -> None:
        listed = "".join(f"\n  {line}" for line in tried)
        super().__init__(
            f"{pin} names {digest}, which cannot be obtained here. Tried:{listed}\n"
            "Name a registry that has it in MLFLOW_TRACKING_URI; or `dvc push` it from where it was built, "
            "and name that remote in DVC_REMOTE."
        )


class CommitBuildsAnother(PipelineError):
    def __init__(self, pin: Path, pinned: str, metrics: Path, described: str) -> None:
        super().__init__(
            f"The last commit cannot be compared with its pin: {pin} names {pinned[:12]}, and {metrics} "
            f"describes {described[:12]}, as after a rollback. Check out the commit that built the pinned "
            f"one (`git log {pin}`) and run this there."
        )


class RebuildDiffers(PipelineError):
    def __init__(self, model: str, commit: str, pinned: str, found: str, files: int) -> None:
        digest = "with its digest" if pinned == found else f"with the digest {found[:12]}"
        super().__init__(
            f"different: {model} {pinned[:12]}, built again from commit {commit}, came out {digest}; "
            f"{files} file{'s' * (files > 1)} differ{'s' * (files == 1)}, see above. If `python -m pipeline "
            "stale` finds dvc.lock out of date, that is why."
        )


class ClassUnknown(PipelineError):
    def __init__(self, text: str, labels: Sequence[str]) -> None:
        near = difflib.get_close_matches(text, labels, n=3, cutoff=0.4) or labels[:3]
        super().__init__(
            f"The model has no class {text!r}. It has {len(labels):,}, for instance {', '.join(near)}; "
            "`serving/labels.json` in its bundle lists them all."
        )


class BundleUnknown(PipelineError):
    def __init__(self, text: str, model: str) -> None:
        super().__init__(
            f"{text!r} is no bundle of {model} to compare: it is not a folder. Write pinned, challenger, "
            "workspace, the number of a version in the registry, or the path of a bundle's folder."
        )


class LabelSetsDiffer(PipelineError):
    """`only_first` and `only_second` are the labels that the other bundle does not have."""

    MAX_NAMES = 5

    def __init__(
        self, first: str, second: str, only_first: Sequence[str], only_second: Sequence[str]
    ) -> None:
        listed = "".join(
            f"\n  only in {name}: {self._names(labels)}"
            for name, labels in ((first, only_first), (second, only_second))
            if labels
        )
        super().__init__(
            f"{first} and {second} do not have the same labels, so their answers cannot agree:{listed}\n"
            "Compare two versions that were built from the same classes."
        )

    def _names(self, labels: Sequence[str]) -> str:
        names = ", ".join(map(repr, labels[: self.MAX_NAMES]))
        more = len(labels) - self.MAX_NAMES
        return f"{names} and {more:,} more" if more > 0 else names


class ComparisonImpossible(PipelineError):
    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"There is no image in {folder} on which the two can be compared: {reason}. Name another folder "
            "with --photos."
        )


class MethodUnavailable(PipelineError):
    def __init__(self, method: str, methods: Sequence[str]) -> None:
        super().__init__(
            f"This model cannot be explained by {method!r}, because its network does not end in "
            f"global average pooling and a dense layer: leave --method out, or choose {' or '.join(methods)}."
        )


class HistoryShallow(PipelineError):
    def __init__(self, pin: Path) -> None:
        super().__init__(
            f"This is a shallow clone, so git does not know which versions {pin} named before and which of "
            "them were withdrawn: `git fetch --unshallow` fetches the whole history."
        )


class ChainBroken(PipelineError):
    def __init__(self, link: str, reason: str) -> None:
        super().__init__(f"broken at {link}: {reason}")


class RepositoryMissing(PipelineError):
    def __init__(self, folder: Path, reason: str, advice: str) -> None:
        super().__init__(
            f"{folder} is not a git repository with a commit, which DVC and the history of pins need "
            f"and a zip download does not include ({reason}). Run once: `{advice}`"
        )


class CommandFailed(PipelineError):
    def __init__(self, command: Sequence[str], code: int, output: str = "") -> None:
        tail = f": {output.strip()[-2000:]}" if output.strip() else ""
        super().__init__(f"`{' '.join(command)}` ended with exit code {code}{tail}")
