"""The stages as dvc.yaml and params.yaml describe them."""

from typing import Any

import yaml

from tests.repo.imports import ROOT

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
