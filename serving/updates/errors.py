"""Why a version does not become the served one.

    ServingError
    ├── DigestNotAllowed  digest_not_allowed
    ├── LabelsChanged     labels_changed
    ├── PullFailed        that of the error in the process that pulls
    └── TrialLost         trial_lost

All but `PullFailed` are lasting: the version is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from serving.artifact.bundle import Label
from serving.artifact.pin import Pin
from serving.errors import ServingError

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

    code = "pull_failed"

    def __init__(self, code: str, message: str) -> None:
        self.reason_code = code
        super().__init__(message)


class TrialLost(ServingError):
    """The version is worse than the one that is served."""

    code = "trial_lost"

    def __init__(self, reason: str) -> None:
        super().__init__(f"It is worse than the served version: it {reason}.")


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:NAMED])
    return shown if len(labels) <= NAMED else f"{shown} and {len(labels) - NAMED} more"
