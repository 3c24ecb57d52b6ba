"""Evaluates the bundle on the test images, through the server's decoder and predictor.

Reads `models/<model>/bundle/`, `data/prepared/<model>/test/` and `report.json`, the learning curves, what was
recorded of an imported model, the foreign images of `data/foreign/<model>/`, and, for comparison, the pinned
version.
Writes `reports/<model>/`: metrics.json, tables, plots, pictures and the model card. Figures that differ
from run to run (latency, machine) go to machine.json there, which is neither in git nor in dvc.lock.
"""

import os
import platform
import shutil
import time
from typing import Any

from pipeline import params
from pipeline.command_line import run_stage
from pipeline.errors import InputMissing
from pipeline.evaluation import example_grid, gate, gate_refusals, model_card, report_tables
from pipeline.evaluation.batch_prediction import Predictions, measure_latency, predict_folder
from pipeline.evaluation.example_selection import load_examples, load_unlabelled_examples
from pipeline.evaluation.foreign_energies import ForeignEnergies, predict_foreign
from pipeline.evaluation.foreign_images import find_foreign_images
from pipeline.evaluation.keras_agreement import measure_agreement
from pipeline.evaluation.metrics_summary import DIGITS, summarise, terminal_lines, top_k_accuracy
from pipeline.evaluation.pinned_comparison import compare_with_pinned
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.evaluation.reliability_diagram import draw_reliability
from pipeline.files import read_json, replace_folder, write
from pipeline.layout import Layout
from serving.artifact.files import to_json
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH, KERAS_MODEL
from serving.model.predictor import Predictor


def main(model: str) -> None:
    """Runs the stage."""
    layout, settings = Layout(model), params.load().for_model(model).evaluate
    imported = read_json(layout.import_record) if layout.import_record.exists() else None
    for needed in (layout.bundle, layout.data_report, *([] if imported else [layout.test])):
        if not needed.exists():
            raise InputMissing(needed, model)
    predictor = Predictor.open(layout.bundle)
    predictor.check_golden()
    if imported and not layout.test.exists():
        evaluate_without_labels(layout, predictor, imported, settings)
    else:
        evaluate_labelled(layout, predictor, imported, settings)


def evaluate_labelled(
    layout: Layout, predictor: Predictor, imported: dict[str, Any] | None, settings: params.Evaluate
) -> None:
    """Measures the bundle on the test images. `imported` is the record of an imported model."""
    begin, model = time.perf_counter(), layout.model
    precision = predictor.bundle.manifest.precision
    predictions = predict_folder(predictor, layout.test)
    latency = measure_latency(predictor, predictions.files)
    # Keras computes with float32, so it is compared with the float32 graph.
    float_predictor = Predictor.open(layout.bundle, graph=FLOAT_GRAPH if precision == "int8" else GRAPH)
    float_predictions = predict_folder(float_predictor, layout.test) if precision == "int8" else predictions
    agreement, difference = agreement_metrics(float_predictor, float_predictions, imported)
    comparison, comparison_line = compare_with_pinned(layout, predictor, predictions)

    names = [label.name for label in predictor.labels]
    metrics = summarise(predictions, names) | {
        "model": model,
        "digest": predictor.bundle.digest,
        "precision": precision,
        "agreement": agreement,
        **({"import": imported} if imported else {}),
    }
    checks = gate.check_floors(metrics, latency["total_ms_p50"], settings)
    if precision == "int8":
        loss = QuantisationLoss.between(float_predictions, predictions)
        checks.append(gate.check_quantisation(loss, settings))
        metrics |= {"float32": top_k_accuracy(float_predictions), "quantisation": loss.to_metrics(DIGITS)}
    if predictions.confidence_record is not None:
        data_set = read_json(layout.data_report).get("data_set")
        foreign = measure_foreign(layout, predictor, data_set)
        record = predictions.confidence_record
        metrics["confidence"] = record.to_metrics(predictions.confidence, predictions.correct, foreign)
    checks += gate.check_coverage(metrics, settings)
    if imported:
        checks += gate.check_preprocessing(imported["alternatives"], settings)
    metrics["gate"] = gate.decide([*checks, gate.check_regression(comparison, settings)])
    machine = {
        "digest": predictor.bundle.digest,
        "latency": latency,
        "latency_float32": measure_latency(float_predictor, predictions.files),
        "agreement_difference": difference,
        "against_pinned": comparison_line,
        "seconds": time.perf_counter() - begin,
        "machine": describe_machine(),
    }
    classes = report_tables.class_rows(predictor, predictions)
    confusions = report_tables.confusion_rows(names, predictions)
    write_reports(layout, predictor, predictions, metrics, classes, confusions)
    write(layout.machine, to_json(machine))
    for line in terminal_lines(metrics, model_card.never_predicted(classes, confusions)):
        print(f"evaluate {model}: {line}")
    print(f"evaluate {model}: {latency['total_ms_p50']:.1f} ms per image; {comparison_line}")


def agreement_metrics(
    predictor: Predictor, predictions: Predictions, imported: dict[str, Any] | None
) -> tuple[dict[str, float], float | None]:
    """Shares of images with the same top-1 in other frameworks, and the largest difference to Keras.

    A bundle without a Keras model was compared with the original file when it was imported.
    """
    shares = {"original": imported["conversion"]["same_top1"]} if imported else {}
    if KERAS_MODEL not in predictor.bundle.manifest.files:
        return shares, None
    agreement = measure_agreement(predictor, predictor.bundle.path / KERAS_MODEL, predictions)
    keras = {"keras_predict": agreement.predict, "keras_eager": agreement.eager}
    return {name: round(share, DIGITS) for name, share in (keras | shares).items()}, agreement.max_difference


def measure_foreign(layout: Layout, predictor: Predictor, data_set: str | None) -> ForeignEnergies | None:
    """The energies of images that the model should not know; `None` without such images or without energy."""
    if not predictor.bundle.manifest.energy:
        return None
    images = find_foreign_images(layout, data_set)
    return None if images is None else predict_foreign(predictor, images)


def evaluate_without_labels(
    layout: Layout, predictor: Predictor, imported: dict[str, Any], settings: params.Evaluate
) -> None:
    """Checks an imported model for which there are no labelled photos: nothing is said of its accuracy."""
    golden = [predictor.bundle.path / image.file for image in predictor.bundle.golden_images()]
    latency = measure_latency(predictor, golden)
    agreement = {"original": imported["conversion"]["same_top1"]}
    decision = gate.decide(gate.check_without_labels(agreement, latency["total_ms_p50"], settings))
    metrics = {
        "model": layout.model,
        "digest": predictor.bundle.digest,
        "precision": predictor.bundle.manifest.precision,
        "evaluated": False,
        "images": 0,
        "classes": len(predictor.labels),
        "agreement": agreement,
        "import": imported,
        "gate": decision,
    }
    machine = {"digest": predictor.bundle.digest, "latency": latency, "machine": describe_machine()}
    with replace_folder(layout.reports) as reports:
        write(reports / "metrics.json", to_json(metrics))
        write(reports / "data.json", to_json(read_json(layout.data_report)))
        for name, columns in report_tables.COLUMNS.items():
            write(reports / name, report_tables.to_csv([], columns))
        shutil.copytree(layout.built / "training", reports / "training")
        example_grid.draw_grid(
            reports / "examples.png",
            f"{layout.model}: not evaluated; what it says of images without labels",
            load_unlabelled_examples(predictor, golden),
            [],
        )
        draw_reliability(reports / "reliability.png", f"{layout.model}: not evaluated", [])
        write(reports / "README.md", model_card.render_unevaluated_card(layout.model, metrics).encode())
    write(layout.machine, to_json(machine))
    print(f"evaluate {layout.model}: not evaluated, for there are no labelled photos")
    for reason in gate_refusals.refusal_reasons(decision):
        print(f"evaluate {layout.model}: the gate refuses it: {reason}")


def describe_machine() -> dict[str, Any]:
    """The machine that latencies were measured on."""
    return {
        "cpus": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def write_reports(
    layout: Layout,
    predictor: Predictor,
    predictions: Predictions,
    metrics: dict[str, Any],
    classes: report_tables.Rows,
    confusions: report_tables.Rows,
) -> None:
    """Writes the files of `reports/<model>/` that are kept in git."""
    data = read_json(layout.data_report)
    names = [label.name for label in predictor.labels]
    tables = {
        "predictions.csv": report_tables.prediction_rows(layout.test, names, predictions),
        "classes.csv": classes,
        "confusions.csv": confusions,
        "confusion.csv": report_tables.matrix_rows(names, predictions, confusions),
        "reliability.csv": report_tables.reliability_rows(predictions),
    }
    with replace_folder(layout.reports) as reports:
        write(reports / "metrics.json", to_json(metrics))
        write(reports / "data.json", to_json(data))
        for name, rows in tables.items():
            write(reports / name, report_tables.to_csv(rows, report_tables.COLUMNS[name]))
        shutil.copytree(layout.built / "training", reports / "training")
        title = f"{layout.model}: top-1 {metrics['top1']:.1%} of {metrics['images']} held-out images"
        example_grid.draw_grid(reports / "examples.png", title, *load_examples(predictor, predictions))
        draw_reliability(
            reports / "reliability.png",
            f"{layout.model}: {metrics['images']} held-out images",
            report_tables.reliability_curves(predictions),
        )
        card = model_card.render_card(layout.model, metrics, data, classes, confusions)
        write(reports / "README.md", card.encode())


if __name__ == "__main__":
    run_stage(main)
