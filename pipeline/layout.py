"""Where things are: one place for every path, relative to the root of the repository."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.params import RAW


@dataclass(frozen=True)
class Layout:
    """The files and folders of one model."""

    model: str

    @property
    def raw(self) -> Path:
        """What the user gives: class folders, or a source.yaml recipe."""
        return RAW / self.model

    @property
    def prepared(self) -> Path:
        """Checked images, `<split>/<class>/<file>`, and the report about them."""
        return Path("data/prepared") / self.model

    @property
    def test(self) -> Path:
        return self.prepared / "test"

    @property
    def data_report(self) -> Path:
        return self.prepared / "report.json"

    @property
    def built(self) -> Path:
        """`model.keras`, `labels.json`, `preprocessing.json`, `training/`, `weights.json`."""
        return Path("models") / self.model / "build"

    @property
    def weights(self) -> Path:
        """Which published weights a model began with; not there if with none."""
        return self.built / "weights.json"

    @property
    def bundle(self) -> Path:
        return Path("models") / self.model / "bundle"

    @property
    def receipt(self) -> Path:
        """What register leaves behind: the digest that it registered."""
        return Path("models") / self.model / "registered.json"

    @property
    def reports(self) -> Path:
        """What evaluate found out, small files in git."""
        return Path("reports") / self.model

    @property
    def metrics(self) -> Path:
        return self.reports / "metrics.json"

    @property
    def machine(self) -> Path:
        """What differs from run to run: latency, times, machine. Neither in git nor in dvc.lock."""
        return self.reports / "machine.json"

    @property
    def pin(self) -> Path:
        """Which version is served."""
        return Path("pins") / f"{self.model}.json"
