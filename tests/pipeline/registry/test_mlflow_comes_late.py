"""MLflow takes a second to import, so only commands that use the registry import it."""

import subprocess
import sys

import pytest

from tests.repo.imports import ROOT

REPORTED = "; import sys; print('mlflow' in sys.modules)"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from pipeline.__main__ import main; main(['history', 'digits'])", "False"),
        ("import pipeline.stages.evaluate", "False"),
        ("import pipeline.stages.register", "True"),
    ],
)
def test_mlflow_is_imported_by_what_needs_it(code: str, expected: str) -> None:
    command = [sys.executable, "-c", code + REPORTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120)
    assert done.stdout.splitlines()[-1] == expected
