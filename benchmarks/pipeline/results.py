"""Where the results are, the document that shows them, and where they were measured."""

import platform
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving.machine import CPU
from serving.cores import available

RESULTS = Path(__file__).parents[1] / "pipeline.json"
DOCUMENT = ROOT / "docs/pipeline.md"


def place() -> dict[str, object]:
    """Processor, cores and Python; unlike the server's benchmark this one needs no load generator."""
    lines = (line.partition(":") for line in CPU.read_text(encoding="utf-8").splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = facts.get("model name", platform.machine())
    return {"cpu": name, "cores": available(), "python": platform.python_version()}
