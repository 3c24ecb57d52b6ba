"""The environment variables that the pipeline reads.

Two more readers exist: `pipeline/network/backend.py` reads `KERAS_HOME` before Keras does, and MLflow itself
reads its user name and password.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

# With these variables MLflow would store versions apart from their runs, or in a place that the server
# does not read.
CONFLICTING_VARIABLES = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_ENABLE_WORKSPACES",
)
# Values that are MLflow's defaults and therefore change nothing.
DEFAULT_VALUES = frozenset({"false", "0", "default"})
# Not GOLDFISH_...: the pipeline reads the server's settings too, which refuse such a variable as unknown.
PASSPHRASE = "SIGNING_KEY_PASSPHRASE"  # noqa: S105  (the name, not a passphrase)


@dataclass(frozen=True)
class Environment:
    """The settings that come from environment variables."""

    tracking_uri: str | None
    keras_home: Path
    # Is the stage run by `dvc exp run`?
    experiment: bool
    tracking_token: str = ""
    plain_http: bool = False
    # The root of the project. `dvc exp run --temp` and queued experiments run in a copy of it.
    project_folder: Path = Path()
    # The `CONFLICTING_VARIABLES` that are set to something other than MLflow's default.
    conflicting_variables: tuple[str, ...] = ()
    # Decrypts the key of `promote --sign`; empty for a key that is not encrypted.
    signing_passphrase: str = field(default="", repr=False)

    @classmethod
    def read(cls) -> Self:
        """Reads `MLFLOW_TRACKING_URI`, `MLFLOW_TRACKING_TOKEN`, `KERAS_HOME`, `GOLDFISH_REGISTRY_PLAIN_HTTP`
        (same meaning as in the server), `SIGNING_KEY_PASSPHRASE`, and DVC's variables for experiments.
        """
        experiment = bool(os.environ.get("DVC_EXP_NAME") or os.environ.get("DVC_EXP_BASELINE_REV"))
        return cls(
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or None,
            keras_home=Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras"),
            experiment=experiment,
            tracking_token=os.environ.get("MLFLOW_TRACKING_TOKEN") or "",
            plain_http=os.environ.get("GOLDFISH_REGISTRY_PLAIN_HTTP", "").strip().lower() in ("1", "true"),
            project_folder=Path(os.environ.get("DVC_ROOT") or "") if experiment else Path(),
            conflicting_variables=tuple(name for name in CONFLICTING_VARIABLES if _conflicts(name)),
            signing_passphrase=os.environ.get(PASSPHRASE) or "",
        )


def _conflicts(name: str) -> bool:
    value = os.environ.get(name, "").strip()
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    harmless = {tracking_uri} if name == "MLFLOW_REGISTRY_URI" else DEFAULT_VALUES
    return bool(value) and value.lower() not in harmless
