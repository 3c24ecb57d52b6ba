"""The paths of the project's files, all defined here, relative to the root of the repository."""

from dataclasses import dataclass
from pathlib import Path

RAW_FOLDER = Path("data/raw")
FOREIGN_FOLDER = Path("data/foreign")


@dataclass(frozen=True)
class Layout:
    """The files and folders of one model."""

    model: str

    @property
    def raw(self) -> Path:
        """The user's input: class folders, a model file, a source.yaml recipe."""
        return RAW_FOLDER / self.model

    @property
    def prepared(self) -> Path:
        """Checked images, `<split>/<class>/<file>`, the data report, and the user's files."""
        return Path("data/prepared") / self.model

    @property
    def user_files(self) -> Path:
        """The user's model, labels and code, as they were in `raw`; absent if there are none."""
        return self.prepared / "files"

    @property
    def unlabelled(self) -> Path:
        """Photos without labels, for a model that the user brings; absent if there are none."""
        return self.prepared / "unlabelled"

    @property
    def test(self) -> Path:
        return self.prepared / "test"

    @property
    def valid(self) -> Path:
        """Validation images, which neither train nor test."""
        return self.prepared / "valid"

    @property
    def foreign(self) -> Path:
        """Images that the model should not know, given by the user; absent if there are none."""
        return FOREIGN_FOLDER / self.model

    @property
    def data_report(self) -> Path:
        return self.prepared / "report.json"

    @property
    def built(self) -> Path:
        """`model.keras` or `model.onnx`, `labels.json`, `preprocessing.json`, `training/`, `weights.json`."""
        return Path("models") / self.model / "build"

    @property
    def weights(self) -> Path:
        """Which published weights training started from; absent if it started from random weights."""
        return self.built / "weights.json"

    @property
    def keras_model(self) -> Path:
        """Absent for an imported model that Keras cannot load by itself."""
        return self.built / "model.keras"

    @property
    def imported_graph(self) -> Path:
        """The float32 ONNX graph of an imported model; absent for other models."""
        return self.built / "model.onnx"

    @property
    def generated_images(self) -> Path:
        """Images in place of photos; only for an imported model without any photo."""
        return self.built / "generated"

    @property
    def import_record(self) -> Path:
        """Of an imported model: what its file holds, and how it was compared; absent for other models."""
        return self.built / "import.json"

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

    @property
    def signature(self) -> Path:
        """The signature of the pinned bundle; absent if it was promoted without a key."""
        return Path("pins") / f"{self.model}.sig"
