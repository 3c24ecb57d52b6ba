"""Where the results are, and the documents that show them."""

from pathlib import Path

from benchmarks.documents import ROOT

RESULTS = Path(__file__).parents[1] / "results.json"
SWEEP = RESULTS.with_name("sweep.json")
README = ROOT / "README.md"
MANUAL = ROOT / "docs/performance.md"
PICTURE = ROOT / "docs/bench.png"
