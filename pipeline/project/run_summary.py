"""The summary that `run <model>` prints at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation import model_card
from pipeline.files import read_json
from pipeline.layout import Layout
from pipeline.registry.mlflow_registry import CHAMPION, Registry
from serving.artifact.pin import Pin
from serving.model.predictor import Score


@dataclass(frozen=True)
class ExamplePrediction:
    """The prediction for one test image, and how long it took."""

    image: Path
    scores: list[Score]
    milliseconds: float


def format_summary(
    layout: Layout, pin: Pin, registry: Registry, example: ExamplePrediction, seconds: float
) -> str:
    """One line per item: version, digest, metrics, example prediction, report, MLflow, next steps."""
    metrics = read_json(layout.metrics)
    digest = metrics["digest"]
    best = ", ".join(f"{score.label} {score.score:.1%}" for score in example.scores[:3])
    option = "" if layout.model == "digits" else f" MODEL={layout.model}"
    latency = f"{example.milliseconds:.1f} ms for this image, decoded and classified on one thread"
    lines = [
        ("model", f"{pin.name}, version {pin.version}, {alias_status(registry, pin)}"),
        ("digest", digest if digest == pin.digest else f"{digest} (pinned: {pin.digest})"),
        ("top-1", _format_share(metrics, "top1")),
        *([("top-5", _format_share(metrics, "top5"))] if "top5" in metrics else []),
        ("recall", f"{metrics['recall_macro']:.1%}, mean of the classes"),
        ("baseline", model_card.format_baseline(metrics)),
        *_int8_lines(metrics),
        ("answer", f"{example.image.relative_to(layout.test)}: {best}"),
        ("latency", latency),
        ("report", str(layout.reports / "README.md")),
        ("MLflow", mlflow_page(registry, pin.name)),
        ("took", f"{seconds:.0f} s"),
        ("next", f"`make classify IMAGE=<file>{option}` asks it, `git add -A && git commit` keeps the pin"),
    ]
    return "\n" + "\n".join(f"  {name:<8} {text}" for name, text in lines)


def alias_status(registry: Registry, pin: Pin) -> str:
    """Whether the alias `champion` names the pinned version in this registry."""
    champion = registry.champion(pin.name)
    if champion is not None and champion.digest == pin.digest:
        return f"alias {CHAMPION}"
    if registry.find_by_digest(pin.name, pin.digest) is None:
        found = (
            f"no alias {CHAMPION}"
            if champion is None
            else f"its alias {CHAMPION} is version {champion.number}"
        )
        return f"which is not in this registry; {found}"
    found = "nothing" if champion is None else f"version {champion.number}"
    return f"but the alias {CHAMPION} is {found}: `python -m pipeline repair {pin.name}` mends it"


def mlflow_page(registry: Registry, model: str) -> str:
    """The address of the model's page in MLflow."""
    if registry.is_embedded:
        return f"`make mlflow` serves it at http://127.0.0.1:5001/#/models/{model}"
    return f"{registry.display_uri}/#/models/{model}"


def _int8_lines(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    if metrics["precision"] != "int8":
        return []
    loss = metrics["quantisation"]
    return [("int8", f"{loss['lost']} images lost, {loss['gained']} gained against float32")]


def _format_share(metrics: dict[str, Any], key: str) -> str:
    low, high = metrics[f"{key}_interval"]
    return (
        f"{metrics[key]:.1%} of {metrics['images']} held-out images (95 % interval {low:.1%} to {high:.1%})"
    )
