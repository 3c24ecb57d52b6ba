"""The offline half: builds, evaluates, registers and pins a bundle from data and params.

`stages/` has one module per DVC stage and `__main__.py` the commands; both share the other packages.
"""

import os

# Set before MLflow is imported, which reads it then. The pipeline sends no telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
