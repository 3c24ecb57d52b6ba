"""Git repositories with reports as `evaluate` writes them, for models that were never trained."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation import metrics
from serving.artifact.files import to_json
from serving.artifact.pin import Pin
from tests.pipeline.projects import AUTHOR, TINY, Project

ANIMALS = ("cat", "dog", "owl")

# One stage is enough for DVC to detect changed code.
STAGES = """\
stages:
  evaluate:
    matrix:
      model: ${models}
    cmd: python evaluate.py ${item.model}
    deps:
      - evaluate.py
"""
IGNORED = "/models\n/data\n/report\n/report.md\n/reports/*/machine.json\n"
CODE = b"print('measured')\n"

RELIABILITY_COLUMNS = ("temperature", "confidence", "accuracy", "images")

# Image: predicted class and confidence. All other images are predicted correctly.
Mistakes = Mapping[str, tuple[str, float]]


@dataclass(frozen=True)
class EvaluatedModel:
    """The evaluation of a model with `images` test images per class, `<class>/<number>.png`."""

    version: str
    mistakes: Mistakes = field(default_factory=dict)
    names: Sequence[str] = ANIMALS
    images: int = 20
    floor: float = 0.5
    train: int = 100
    model: str = "tiny"
    confidence: Mapping[str, Any] | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.version.encode()).hexdigest()

    def write(self, root: Path) -> "EvaluatedModel":
        """Writes the files that `evaluate` writes."""
        folder = root / "reports" / self.model
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.predictions()
        number = {name: place for place, name in enumerate(self.names)}
        actual = np.array([number[row["actual"]] for row in rows])
        predicted = np.array([number[row["predicted"]] for row in rows])
        found = metrics.class_metrics(predicted, actual, len(self.names))
        (folder / "predictions.csv").write_bytes(table(rows))
        (folder / "classes.csv").write_bytes(table(self._classes(found)))
        confused = [
            {"actual": self.names[a], "predicted": self.names[p], "images": n}
            for a, p, n in metrics.confusion_counts(predicted, actual)
        ]
        (folder / "confusions.csv").write_bytes(table(confused, ("actual", "predicted", "images")))
        (folder / "metrics.json").write_bytes(to_json(self._metrics(found, int((predicted == actual).sum()))))
        (folder / "data.json").write_bytes(to_json(self._data()))
        (folder / "reliability.csv").write_bytes(table(self._reliability(), RELIABILITY_COLUMNS))
        return self

    def predictions(self) -> list[dict[str, Any]]:
        """The rows of predictions.csv."""
        rows = []
        for place, name in enumerate(self.names):
            for number in range(self.images):
                image = f"{place:03d}/{number:03d}.png"
                predicted, sure = self.mistakes.get(image, (name, 0.99))
                right = predicted == name
                rows.append(
                    {"image": image, "actual": name, "predicted": predicted, "confidence": f"{sure:.4f}"}
                    | {"rank": 1 if right else 2}
                )
        return rows

    def _classes(self, found: metrics.ClassMetrics) -> list[dict[str, Any]]:
        return [
            {
                "id": f"{place:03d}",
                "name": name,
                "images": self.images,
                "precision": round(float(found.precision[place]), 5),
                "recall": round(float(found.recall[place]), 5),
                "f1": round(float(found.f1[place]), 5),
            }
            for place, name in enumerate(self.names)
        ]

    def _reliability(self) -> list[dict[str, Any]]:
        """One row of the served probabilities and, with confidence, before it one without the temperature."""
        rows = self.predictions()
        right = sum(row["rank"] == 1 for row in rows) / len(rows)
        temperatures = ("1", "0.7") if self.confidence else ("",)
        return [
            {"temperature": value, "confidence": 0.9, "accuracy": round(right, 5), "images": len(rows)}
            for value in temperatures
        ]

    def _metrics(self, found: metrics.ClassMetrics, hits: int) -> dict[str, Any]:
        total = self.images * len(self.names)
        precision, recall, f1 = (round(value, 5) for value in found.macro)
        passed = hits / total >= self.floor
        reason = f"{hits / total:.4f} {'>=' if passed else 'is below'} {self.floor:g}"
        return {
            "model": self.model,
            "digest": self.digest,
            "images": total,
            "classes": len(self.names),
            "top1": round(hits / total, 5),
            "top1_interval": [round(bound, 5) for bound in metrics.wilson_interval(hits, total)],
            **self._top5(total),
            "precision_macro": precision,
            "recall_macro": recall,
            "f1_macro": f1,
            "calibration_error": 0.0123,
            "majority": {"class": self.names[0], "share": round(1 / len(self.names), 5)},
            "agreement": {"keras_eager": 1.0, "keras_predict": 1.0},
            **({"confidence": self.confidence} if self.confidence else {}),
            "gate": {"passed": passed, "checks": {"top1": {"passed": passed, "reason": reason}}},
        }

    def _top5(self, total: int) -> dict[str, Any]:
        if len(self.names) <= 5:
            return {}
        interval = [round(bound, 5) for bound in metrics.wilson_interval(total, total)]
        return {"top5": 1.0, "top5_interval": interval}

    def _data(self) -> dict[str, Any]:
        counts = {"train": self.train, "valid": 10, "test": self.images}
        total = Counter({split: number * len(self.names) for split, number in counts.items()})
        return {
            "digest": hashlib.sha256(f"{self.names}{counts}".encode()).hexdigest(),
            "images": dict(total),
            "classes": {f"{place:03d}": counts for place in range(len(self.names))},
            "repeated": {},
            "look_alikes_across_splits": {"pairs": 0, "first": []},
        }


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> bytes:
    """CSV in the format of `evaluate`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def create_repository(root: Path, models: Sequence[str] = ("tiny",)) -> Project:
    """A git repository with one commit on `main`: params, a stage and its lock, no reports."""
    root.mkdir(parents=True)
    project = Project(root, {**AUTHOR, "GIT_CONFIG_GLOBAL": "/dev/null"})
    sections = TINY.partition("\n\n")[2]
    written = [sections.replace("tiny:", f"{model}:", 1) for model in models]
    (root / "params.yaml").write_text("\n".join([f"models: [{', '.join(models)}]", *written]))
    (root / "dvc.yaml").write_text(STAGES)
    (root / "evaluate.py").write_bytes(CODE)
    (root / "dvc.lock").write_text(lock(models))
    (root / ".gitignore").write_text(IGNORED)
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    project.succeed("git", "init", "-q", "-b", "main")
    project.commit("begin")
    return project


def lock(models: Sequence[str]) -> str:
    """dvc.lock as after a run of the stage."""
    md5 = hashlib.md5(CODE, usedforsecurity=False).hexdigest()
    lines = ["schema: '2.0'", "stages:"]
    for model in models:
        lines += [f"  evaluate@{model}:", f"    cmd: python evaluate.py {model}", "    deps:"]
        lines += [
            "    - path: evaluate.py",
            "      hash: md5",
            f"      md5: {md5}",
            f"      size: {len(CODE)}",
        ]
    return "\n".join(lines) + "\n"


def write_pin(root: Path, measured: EvaluatedModel, version: int) -> None:
    """Pins an evaluated version."""
    path = root / f"pins/{measured.model}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Pin(measured.model, version, measured.digest).to_bytes())


def create_released(root: Path, measured: EvaluatedModel) -> Project:
    """A repository whose main has an evaluated, pinned model; HEAD is a new branch without changes."""
    project = create_repository(root)
    write_pin(root, measured.write(root), 1)
    project.commit("release")
    project.succeed("git", "switch", "-q", "-c", "change")
    return project
