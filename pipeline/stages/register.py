"""Registers the bundle in MLflow, once for each digest, as `challenger`.

Reads `models/<model>/bundle/` and `reports/<model>/`.
Writes a version in the registry, and `models/<model>/registered.json`, the stage's output for DVC.
Fails if the bundle did not pass its gate. Inside `dvc exp run` nothing is registered.
"""

from pipeline.command_line import run_stage
from pipeline.environment import Environment
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.registration import ensure_registered
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json


def main(model: str) -> None:
    """Runs the stage."""
    layout, environment = Layout(model), Environment.read()
    if environment.experiment:
        print(
            f"register {model}: skipped inside `dvc exp run`; `dvc exp apply`, then `make run` registers it"
        )
    else:
        registry = Registry.connect(environment)
        version = ensure_registered(layout, registry)
        print(f"register {model}: version {version.number} at {registry.display_uri}")
    # dvc.lock records the hash of this file, so it is the same with every registry and in experiments.
    write(layout.registration_record, to_json({"name": model, "digest": Bundle.open(layout.bundle).digest}))


if __name__ == "__main__":
    run_stage(main)
