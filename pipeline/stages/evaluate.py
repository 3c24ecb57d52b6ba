"""Evaluates the bundle on the test images, through the server's decoder and predictor.

Reads `models/<model>/bundle/`, `data/prepared/<model>/test/` and `report.json`, the learning curves and, for
comparison, the pinned version.
Writes `reports/<model>/`: metrics.json, tables, plots, examples.png and the model card. Figures that differ
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
from pipeline.evaluation import example_grid, gate, model_card, report_tables
from pipeline.evaluation.batch_prediction import Predictions, measure_latency, predict_folder
from pipeline.evaluation.example_selection import load_examples
from pipeline.evaluation.keras_agreement import measure_agreement
from pipeline.evaluation.metrics_summary import DIGITS, summarise, terminal_lines, top_k_accuracy
from pipeline.evaluation.pinned_comparison import compare_with_pinned
from pipeline.evaluation.quantisation_loss import QuantisationLoss
from pipeline.files import read_json, replace_folder, write
from pipeline.layout import Layout
from serving.artifact.files import to_json
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.model.predictor import Predictor


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
    predictions = predict_folder(predictor, layout.test)
    latency = measure_latency(predictor, predictions.files)
    # Keras computes with float32, so it is compared with the float32 graph.
    float_predictor = Predictor.open(layout.bundle, graph=FLOAT_GRAPH if precision == "int8" else GRAPH)
    float_predictions = predict_folder(float_predictor, layout.test) if precision == "int8" else predictions
    agreement = measure_agreement(float_predictor, layout.bundle / "data/model.keras", float_predictions)
    comparison, comparison_line = compare_with_pinned(layout, predictor, predictions)

    names = [label.name for label in predictor.labels]
    metrics = summarise(predictions, names) | {
        "model": model,
        "digest": predictor.bundle.digest,
        "precision": precision,
        "agreement": {
            "keras_predict": round(agreement.predict, DIGITS),
            "keras_eager": round(agreement.eager, DIGITS),
        },
    }
    checks = gate.check_floors(metrics, latency["total_ms_p50"], settings)
    if precision == "int8":
        loss = QuantisationLoss.between(float_predictions, predictions)
        checks.append(gate.check_quantisation(loss, settings))
        metrics |= {"float32": top_k_accuracy(float_predictions), "quantisation": loss.to_metrics(DIGITS)}
    metrics["gate"] = gate.decide([*checks, gate.check_regression(comparison, settings)])
    machine = {
        "digest": predictor.bundle.digest,
        "latency": latency,
        "latency_float32": measure_latency(float_predictor, predictions.files),
        "agreement_difference": agreement.max_difference,
        "against_pinned": comparison_line,
        "seconds": time.perf_counter() - begin,
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }
    classes = report_tables.class_rows(predictor, predictions)
    confusions = report_tables.confusion_rows(names, predictions)
    write_reports(layout, predictor, predictions, metrics, classes, confusions)
    write(layout.machine, to_json(machine))
    for line in terminal_lines(metrics, model_card.never_predicted(classes, confusions)):
        print(f"evaluate {model}: {line}")
    print(f"evaluate {model}: {latency['total_ms_p50']:.1f} ms per image; {comparison_line}")


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
        "predictions.csv": (report_tables.prediction_rows(layout.test, names, predictions), None),
        "classes.csv": (classes, None),
        "confusions.csv": (confusions, ["actual", "predicted", "images"]),
        "confusion.csv": (
            report_tables.matrix_rows(names, predictions, confusions),
            ["actual", "predicted"],
        ),
        "reliability.csv": (report_tables.reliability_rows(predictions), None),
    }
    with replace_folder(layout.reports) as reports:
        write(reports / "metrics.json", to_json(metrics))
        write(reports / "data.json", to_json(data))
        for name, (rows, columns) in tables.items():
            write(reports / name, report_tables.to_csv(rows, columns))
        shutil.copytree(layout.built / "training", reports / "training")
        title = f"{layout.model}: top-1 {metrics['top1']:.1%} of {metrics['images']} held-out images"
        example_grid.draw_grid(reports / "examples.png", title, *load_examples(predictor, predictions))
        card = model_card.render_card(layout.model, metrics, data, classes, confusions)
        write(reports / "README.md", card.encode())


if __name__ == "__main__":
    run_stage(main)
