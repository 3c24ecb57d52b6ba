"""Measures the bundle on images that it was not trained on, through the server's decoder and predictor.

Reads `models/<model>/bundle/`, `data/prepared/<model>/test/` and `report.json`, the training curves; and, to
compare with it, the version that is pinned now.
Writes `reports/<model>/`: metrics.json, tables, plots, examples.png and the card. What differs from run to
run (latency, machine) goes to machine.json there, which neither git nor dvc.lock knows.
"""

import csv
import io
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.environment import Environment
from pipeline.errors import InputMissing, PipelineError
from pipeline.evaluation import example_grid, gate, keras_agreement, metrics, model_card
from pipeline.evaluation.batch_prediction import Predictions, measure_latency, predict_folder
from pipeline.evaluation.gate_refusals import refusal_reasons
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.files import read_json, replace_folder, write
from pipeline.layout import Layout
from pipeline.markdown import plain_text
from serving.artifact.files import to_json
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.artifact.pin import Pin
from serving.errors import PinMissing, ServingError
from serving.model.decoder import decode
from serving.model.predictor import Predictor

# A confusion matrix of more classes cannot be read; then it shows those that are confused most.
MATRIX = 50
# Figures in git: float32 sums of another CPU differ in the seventh digit.
DIGITS = 5

Rows = list[dict[str, Any]]


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).evaluate
    begin = time.perf_counter()
    for needed in (layout.bundle, layout.test, layout.data_report):
        if not needed.exists():
            raise InputMissing(needed, model)
    predictor = Predictor.open(layout.bundle)
    predictor.check_golden()
    precision = predictor.bundle.manifest.precision
    answers = predict_folder(predictor, layout.test)
    measured = measure_latency(predictor, answers.files)
    # Keras computes with float32, and so does what it is compared with.
    float_graph = FLOAT_GRAPH if precision == "int8" else GRAPH
    floats = Predictor.open(layout.bundle, graph=float_graph)
    float_answers = predict_folder(floats, layout.test) if precision == "int8" else answers
    agreed = keras_agreement.measure_agreement(floats, layout.bundle / "data/model.keras", float_answers)
    comparison, compared = against_pinned(layout, predictor, answers)

    names = [label.name for label in predictor.labels]
    metrics = figures(answers, names) | {
        "model": model,
        "digest": predictor.bundle.digest,
        "precision": precision,
        "agreement": {
            "keras_predict": round(agreed.predict, DIGITS),
            "keras_eager": round(agreed.eager, DIGITS),
        },
    }
    checks = gate.check_floors(metrics, measured["total_ms_p50"], settings)
    if precision == "int8":
        loss = QuantisationLoss.between(float_answers, answers)
        checks.append(gate.check_quantisation(loss, settings))
        metrics |= {"float32": shares(float_answers), "quantisation": loss.to_metrics(DIGITS)}
    metrics["gate"] = gate.decide([*checks, gate.check_regression(comparison, settings)])
    machine = {
        "digest": predictor.bundle.digest,
        "latency": measured,
        "latency_float32": measure_latency(floats, answers.files),
        "agreement_difference": agreed.max_difference,
        "against_pinned": compared,
        "seconds": time.perf_counter() - begin,
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }
    save(layout, predictor, answers, metrics)
    write(layout.machine, to_json(machine))
    missed = model_card.never_predicted(class_rows(predictor, answers), confusion_rows(names, answers))
    for line in said(metrics, missed):
        print(f"evaluate {model}: {line}")
    print(f"evaluate {model}: {measured['total_ms_p50']:.1f} ms per image; {compared}")


def said(metrics: dict[str, Any], missed: list[str]) -> Iterator[str]:
    """What a terminal shows of the metrics; `missed` are the classes that are never answered."""
    top5 = f", top-5 {metrics['top5']:.1%}" if "top5" in metrics else ""
    yield (
        f"top-1 {metrics['top1']:.1%}{top5}, mean recall {metrics['recall_macro']:.1%} "
        f"on {metrics['images']} images; {model_card.format_baseline(metrics)}"
    )
    if missed:
        more = f" and {len(missed) - model_card.MAX_ROWS} more" if len(missed) > model_card.MAX_ROWS else ""
        names = ", ".join(plain_text(name, 40) for name in missed[: model_card.MAX_ROWS])
        yield f"never answered: {names}{more}"
    if failed := refusal_reasons(metrics["gate"]):
        yield f"the gate refuses it: {'; '.join(failed)}"


def figures(answers: Predictions, names: list[str]) -> dict[str, Any]:
    """The metrics of metrics.json that are about answers, shares as 0 to 1; `names` are of the classes."""
    commonest, share = metrics.majority_class(answers.actual)
    found = metrics.class_metrics(answers.predicted, answers.actual, answers.class_count)
    precision, recall, f1 = found.macro
    bins = metrics.calibration_bins(answers.confidence, answers.correct)
    return {
        "images": len(answers.files),
        "classes": answers.class_count,
        **shares(answers),
        "precision_macro": round(precision, DIGITS),
        "recall_macro": round(recall, DIGITS),
        "f1_macro": round(f1, DIGITS),
        "calibration_error": round(metrics.expected_calibration_error(bins), DIGITS),
        "majority": {"class": names[commonest], "share": round(share, DIGITS)},
        "chance": round(metrics.permutation_p_value(answers.predicted, answers.actual), DIGITS),
    }


def shares(answers: Predictions) -> dict[str, Any]:
    """Top-1 and, where there are more than five classes, top-5, with their intervals."""
    total = len(answers.ranks)
    result: dict[str, Any] = {}
    for name, places in (("top1", 1), ("top5", 5)):
        if places > 1 and answers.class_count <= places:
            continue
        hits = int((answers.ranks < places).sum())
        result[name] = round(hits / total, DIGITS)
        result[f"{name}_interval"] = [round(bound, DIGITS) for bound in metrics.wilson_interval(hits, total)]
    return result


def against_pinned(
    layout: Layout, predictor: Predictor, answers: Predictions
) -> tuple[gate.PinnedComparison | None, str]:
    """Asks the pinned version about the same images; also says in words what came of it."""
    try:
        pin = Pin.read(layout.pin)
        if pin.digest == predictor.bundle.digest:
            return None, "this is the pinned version"
        # Imported here because it takes a second, and most runs compare with nothing.
        from pipeline.registry.mlflow_files import downloaded_bundle
        from pipeline.registry.mlflow_registry import Registry

        registry = Registry.connect(Environment.read())
        with downloaded_bundle(registry, registry.get_by_digest(pin.name, pin.digest)) as bundle:
            # It may be older than a class that the data have by now.
            pinned = predict_folder(Predictor.open(bundle.path), layout.test, strict=False)
    except PinMissing:
        return None, "nothing is pinned to compare with"
    except (PipelineError, ServingError) as error:
        # A registry without these bytes, for a while or for ever, keeps nobody from measuring.
        return None, f"NOT compared with the pinned version: {error}"
    lost, gained = (
        int((pinned.correct & ~answers.correct).sum()),
        int((answers.correct & ~pinned.correct).sum()),
    )
    comparison = gate.PinnedComparison(pin.digest, len(answers.files), lost, gained)
    return comparison, f"against the pinned {pin.digest[:12]}: {lost} images lost, {gained} gained"


def save(layout: Layout, predictor: Predictor, answers: Predictions, metrics: dict[str, Any]) -> None:
    """Writes everything of `reports/<model>/` that belongs into git."""
    data = read_json(layout.data_report)
    names = [label.name for label in predictor.labels]
    classes, confused = class_rows(predictor, answers), confusion_rows(names, answers)
    with replace_folder(layout.reports) as reports:
        write(reports / "metrics.json", to_json(metrics))
        write(reports / "data.json", to_json(data))
        write(reports / "predictions.csv", table(prediction_rows(layout.test, names, answers)))
        write(reports / "classes.csv", table(classes))
        write(reports / "confusions.csv", table(confused, ["actual", "predicted", "images"]))
        write(
            reports / "confusion.csv", table(matrix_rows(names, answers, confused), ["actual", "predicted"])
        )
        write(reports / "reliability.csv", table(reliability_rows(answers)))
        shutil.copytree(layout.built / "training", reports / "training")
        title = f"{layout.model}: top-1 {metrics['top1']:.1%} of {metrics['images']} held-out images"
        example_grid.draw_grid(reports / "examples.png", title, *examples(predictor, answers))
        text = model_card.render_card(layout.model, metrics, data, classes, confused)
        write(reports / "README.md", text.encode())


def prediction_rows(folder: Path, names: list[str], answers: Predictions) -> Rows:
    """One row per image, in the order of the files."""
    return [
        {
            "image": path.relative_to(folder).as_posix(),
            "actual": names[answers.actual[row]],
            "predicted": names[answers.predicted[row]],
            "confidence": f"{answers.confidence[row]:.4f}",
            "rank": int(answers.ranks[row]) + 1,
        }
        for row, path in enumerate(answers.files)
    ]


def class_rows(predictor: Predictor, answers: Predictions) -> Rows:
    """One row per class, in the order of the model's outputs."""
    found = metrics.class_metrics(answers.predicted, answers.actual, len(predictor.labels))
    return [
        {
            "id": label.id,
            "name": label.name,
            "images": int(found.support[number]),
            "precision": round(float(found.precision[number]), DIGITS),
            "recall": round(float(found.recall[number]), DIGITS),
            "f1": round(float(found.f1[number]), DIGITS),
        }
        for number, label in enumerate(predictor.labels)
    ]


def confusion_rows(names: list[str], answers: Predictions) -> Rows:
    """Wrong answers by pair of classes, most frequent first."""
    return [
        {"actual": names[actual], "predicted": names[predicted], "images": count}
        for actual, predicted, count in metrics.confusion_counts(answers.predicted, answers.actual)
    ]


def matrix_rows(names: list[str], answers: Predictions, confused: Rows) -> Rows:
    """What DVC draws the confusion matrix from: one row per image, of classes that can be shown."""
    shown = set(names)
    if len(names) > MATRIX:
        pairs = [name for row in confused[: MATRIX // 2] for name in (row["actual"], row["predicted"])]
        shown = set(pairs)
    winners = zip(answers.actual, answers.predicted, strict=True)
    rows = [{"actual": names[actual], "predicted": names[predicted]} for actual, predicted in winners]
    return [row for row in rows if row["actual"] in shown and row["predicted"] in shown]


def reliability_rows(answers: Predictions) -> Rows:
    """Confidence and accuracy of answers that are about equally sure."""
    bins = metrics.calibration_bins(answers.confidence, answers.correct)
    return [
        {
            "confidence": round(entry.confidence, DIGITS),
            "accuracy": round(entry.accuracy, DIGITS),
            "images": entry.images,
        }
        for entry in bins
    ]


def shown(answers: Predictions) -> tuple[list[int], list[int]]:
    """Numbers of images, each once: right ones, spread over the classes, and the wrong ones, surest first."""
    right = np.flatnonzero(answers.correct)
    places = np.unique(np.linspace(0, max(0, len(right) - 1), example_grid.COLUMNS).astype(int))
    wrong = sorted(np.flatnonzero(~answers.correct), key=lambda row: -answers.confidence[row])
    return right[places[: len(right)]].tolist(), [int(row) for row in wrong[: example_grid.COLUMNS]]


def examples(
    predictor: Predictor, answers: Predictions
) -> tuple[list[example_grid.Example], list[example_grid.Example]]:
    """What `shown` chooses, decoded."""
    right, wrong = shown(answers)
    names = [label.name for label in predictor.labels]

    def example(row: int) -> example_grid.Example:
        pixels = decode(answers.files[row].read_bytes(), predictor.preprocessing)
        actual, predicted = names[answers.actual[row]], names[answers.predicted[row]]
        return example_grid.Example(pixels, actual, predicted, float(answers.confidence[row]))

    return [example(row) for row in right], [example(row) for row in wrong]


def table(rows: Iterable[dict[str, Any]], columns: list[str] | None = None) -> bytes:
    """CSV with a header; `columns` are needed where there may be no rows."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


if __name__ == "__main__":
    run_stage(main)
