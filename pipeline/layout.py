"""The paths of the project's files, all defined here, relative to the root of the repository."""

from dataclasses import dataclass
from pathlib import Path

RAW_FOLDER = Path("data/raw")


@dataclass(frozen=True)
class Layout:
    """The files and folders of one model."""

    model: str

    @property
    def raw(self) -> Path:
        """The user's input: class folders, or a source.yaml recipe."""
        return RAW_FOLDER / self.model

    @property
    def prepared(self) -> Path:
        """Checked images, `<split>/<class>/<file>`, and the data report."""
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
        """Which published weights training started from; absent if it started from random weights."""
        return self.built / "weights.json"

    @property
    def bundle(self) -> Path:
        return Path("models") / self.model / "bundle"

    @property
    def registration_record(self) -> Path:
        """Written by `register`: the digest that it registered."""
        return Path("models") / self.model / "registered.json"

    @property
    def reports(self) -> Path:
        """The results of `evaluate`: small files in git."""
        return Path("reports") / self.model

    @property
    def metrics(self) -> Path:
        return self.reports / "metrics.json"

    @property
    def machine(self) -> Path:
        """Results that differ from run to run: latency, times, machine. Neither in git nor in dvc.lock."""
        return self.reports / "machine.json"

    @property
    def pin(self) -> Path:
        """Which version is served."""
        return Path("pins") / f"{self.model}.json"
