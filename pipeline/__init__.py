"""The offline half: data and params in, a registered and pinned bundle out.

Verbs are DVC stages and commands, nouns are what they share.
"""

import os

# MLflow reads it when it is imported. This pipeline reports to nobody but its user.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
