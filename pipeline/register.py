"""Registers the bundle in MLflow, once for each digest, as `challenger`.

Reads `models/<model>/bundle/`, `reports/<model>/`.
Writes a version in the registry, and `models/<model>/registered.json`, which says what was done.
Refuses a bundle whose gate did; does nothing inside `dvc exp run`, where results are tried, not kept.
"""

from pipeline import params
from pipeline.entry import stage
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.registration import ensure
from pipeline.registry import CHALLENGER, Registry
from serving.bundle import Bundle, to_json


def main(model: str) -> None:
    """Runs the stage."""
    layout, environment = Layout(model), params.Environment.read()
    # Without the version's number: another registry gives another one, and dvc.lock must not differ.
    receipt = {
        "name": model,
        "digest": Bundle.open(layout.bundle).digest,
        "registered": not environment.experiment,
    }
    if environment.experiment:
        print(
            f"register {model}: skipped inside `dvc exp run`; `dvc exp apply`, then `make run` registers it"
        )
    else:
        registry = Registry.connect(environment)
        version = ensure(layout, registry)
        registry.set_alias(version, CHALLENGER)
        print(f"register {model}: version {version.number} at {registry.shown}")
    write(layout.receipt, to_json(receipt))


if __name__ == "__main__":
    stage(main)
