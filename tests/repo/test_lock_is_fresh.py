"""What is committed was built by the code that is committed."""

import json
import subprocess
import sys

from tests.repo.imports import ROOT


def test_lock_says_what_code_params_and_data_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "stale", "digits"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; `make run`, and commit what it changes"


def test_pin_and_reports_are_of_one_bundle() -> None:
    pin = json.loads((ROOT / "pins/digits.json").read_text(encoding="utf-8"))
    metrics = json.loads((ROOT / "reports/digits/metrics.json").read_text(encoding="utf-8"))
    assert pin["digest"] == metrics["digest"]
    assert metrics["gate"]["passed"] is True
    card = (ROOT / "reports/digits/README.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shares = f"{100 * metrics['top1']:.1f} %"
    assert pin["digest"] in card
    assert pin["digest"] in readme
    assert shares in card
    assert shares in readme
