"""Why a version does not become the served one.

    ServingError
    ├── DigestNotAllowed  digest_not_allowed
    ├── LabelsChanged     labels_changed
    ├── NotAskedYet       not_asked_yet
    └── PullFailed        that of the error in the process that pulls

`LASTING` are the codes for which a version is refused. After any other error another attempt may succeed.
"""

from collections.abc import Sequence
from pathlib import Path

from serving.artifact.bundle import Label
from serving.artifact.pin import Pin
from serving.errors import ServingError

PULL_FAILED, MEMORY_SHORT = "pull_failed", "memory_short"
# Errors of the version itself.
LASTING = frozenset(
    {
        "contract_broken",
        "golden_mismatch",
        "labels_changed",
        "model_mismatch",
        "signature_mismatch",
        "signature_untrusted",
    }
)
# Errors of files, which may be just about to be written.
DAMAGED = frozenset(
    {
        "digest_mismatch",
        "file_missing",
        "file_unexpected",
        "signature_invalid",
        "version_damaged",
    }
)
# Labels that a message names.
NAMED = 5


class DigestNotAllowed(ServingError):
    """An alias leads to a digest that the pin does not list, and no trusted key is set."""

    code = "digest_not_allowed"

    def __init__(self, alias: str, version: Pin, pin: Path) -> None:
        super().__init__(
            f"{version.name}@{alias} leads to version {version.version} with digest {version.digest}, which "
            f"{pin} does not allow: `python -m pipeline allow {version.name} --version {version.version}` "
            "adds it, or GOLDFISH_TRUSTED_KEYS names the key that has signed it."
        )


class NotAskedYet(ServingError):
    """The registry has not been asked for an alias yet."""

    code = "not_asked_yet"

    def __init__(self, name: str) -> None:
        super().__init__(f"The registry has not been asked for {name} yet.")


class LabelsChanged(ServingError):
    """The version has other labels than the one that is served, which clients may rely on."""

    code = "labels_changed"

    def __init__(self, old: Sequence[Label], new: Sequence[Label]) -> None:
        before, after = [label.name for label in old], [label.name for label in new]
        gone, added = [x for x in before if x not in after], [x for x in after if x not in before]
        changes = [f"without {_names(gone)}"] if gone else []
        changes += [f"with {_names(added)} in addition"] if added else []
        what = " and ".join(changes) or "the same names in another order or with other ids"
        super().__init__(
            f"Its labels are not those of the served version: {what}. "
            "GOLDFISH_ALLOW_NEW_LABELS=true accepts that."
        )


class PullFailed(ServingError):
    """The process that pulls a version from the registry has failed. `code` is that of its error."""

    code = PULL_FAILED

    def __init__(self, code: str, message: str) -> None:
        self.reason_code = code
        super().__init__(message)


def code_of(error: BaseException) -> str:
    """The code of an error, of this server or not."""
    if _is_memory_short(error):
        return MEMORY_SHORT
    match error:
        case PullFailed():
            return error.reason_code
        case ServingError():
            return error.code
        case OSError():
            return "system_error"
    return "internal"


def _is_memory_short(error: BaseException | None) -> bool:
    """Has memory run out? ONNX Runtime has no exception class for that, so a bad graph is reported."""
    if error is None:
        return False
    text = str(error)
    return isinstance(error, MemoryError) or "bad_alloc" in text or _is_memory_short(error.__context__)


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:NAMED])
    return shown if len(labels) <= NAMED else f"{shown} and {len(labels) - NAMED} more"
