"""Where the results are, the documents that show them, and where they were measured."""

import platform
from pathlib import Path

from benchmarks.documents import ROOT
from benchmarks.serving.machine import processor
from serving.cpu_count import available_cores

RESULTS = Path(__file__).parents[1] / "pipeline.json"
DOCUMENT, README = ROOT / "docs/pipeline.md", ROOT / "README.md"


def place() -> dict[str, object]:
    """Processor, cores and Python; unlike the server's benchmark this one needs no load generator."""
    return {"cpu": processor(), "cores": available_cores(), "python": platform.python_version()}
