"""Why a version does not become the served one.

ServingError
├── LabelsChanged  labels_changed
└── PullFailed     pull_failed
"""

from collections.abc import Sequence

from serving.artifact.bundle import Label
from serving.errors import ServingError

# Labels that a message names.
NAMED = 5


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


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:NAMED])
    return shown if len(labels) <= NAMED else f"{shown} and {len(labels) - NAMED} more"
