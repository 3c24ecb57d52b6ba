"""The main job: from params and data to a pinned model that has answered, and a summary of it."""

import time
from pathlib import Path
from textwrap import indent
from typing import Any

from pipeline import params
from pipeline.environment import Environment
from pipeline.errors import HistoryShallow, PhotosMissing
from pipeline.evaluation import model_card
from pipeline.files import read_json, write
from pipeline.layout import Layout
from pipeline.model_names import is_model_name
from pipeline.project.git_repository import require_repository
from pipeline.project.reproduction import absent_photos, reproduce_one
from pipeline.project.text_edits import listed
from pipeline.registry.mlflow_registry import CHAMPION, Registry, Version
from pipeline.registry.promotion import promote, withdrawn
from pipeline.registry.registration import ensure
from serving.artifact.pin import Pin
from serving.model.predictor import Predictor, Score

# What a folder of photos is built with until its section says otherwise: usual values for a few hundred
# photos per class. The floors refuse a model that has learned nothing, such as a coin flip or always the same
# answer, whatever the number and sizes of the classes.
STARTER = """\
prepare:
  split: auto           # as folders called train, val, test are, else by content; or folders, content
  stratify: true        # near these shares in small classes too; a new photo may move another one
  valid: 0.1
  test: 0.2
  min_per_class: 10
  convert: []           # formats that become PNG: TIFF, HEIC, AVIF
build:
  method: finetune      # or scratch; pipeline/params.py has the keys of each
  size: 224
  crop: 0.875
  alpha: 1.0
  seed: 1
  batch: 32
  dropout: 0.2
  class_weights: balanced  # rare classes count as much as common ones; or none
  augment:
    shift: 0.05
    flip: true
  head:
    epochs: 5
    learning_rate: 0.001
  top:
    epochs: 5
    learning_rate: 0.0001
  layers: 30            # of the backbone's 155, the last ones
export:
  golden: 4
  precision: float32    # or int8: half the time on many CPUs, but fewer than 200 test photos cannot judge it
  calibration: 64
evaluate:
  min_top1: 0.5
  min_top5: 0.5         # asked where there are more than five classes
  min_recall: 0.6       # mean of the classes, each counts alike
  min_over_majority: 0.2  # of what always answering the commonest class gets wrong; 0 does not ask for it
  min_agreement: 0.99
  max_quantisation_loss: 0.005
  max_latency_ms: 200
  significance: 0.05
register:
  description: Made from a folder of photos.
"""


def run(model: str) -> None:
    """Builds, registers, promotes and asks one model, then says what there is now."""
    begin = time.perf_counter()
    layout = Layout(model)
    require_repository()
    describe(model)
    params.load().for_model(model)
    reproduce_one("register", model)
    if not layout.bundle.exists() and (missing := absent_photos(layout)):
        raise PhotosMissing(model, missing)
    registry = Registry.connect(Environment.read())
    # dvc.lock may say that a version is registered which this registry has never seen.
    version = ensure(layout, registry)
    pin = pin_unless_withdrawn(layout, registry, version)
    image, scores, milliseconds = ask_one(layout)
    print(summary(layout, pin, registry, image, scores, milliseconds, time.perf_counter() - begin))


def pin_unless_withdrawn(layout: Layout, registry: Registry, version: Version) -> Pin:
    """Pins a version that was never replaced by another one; otherwise the pin stays, and why is printed."""
    try:
        if not withdrawn(layout, version):
            return promote(layout, registry, version)
        reason = f"{layout.model} version {version.number} was pinned before and replaced."
    except HistoryShallow as error:
        reason = str(error)
    print(f"\n{layout.pin} stays as it is. {reason}")
    print(f"`python -m pipeline promote {layout.model}` pins version {version.number} all the same.")
    return Pin.read(layout.pin)


def describe(model: str) -> None:
    """Adds a model to params.yaml if need be: to the list, and a starter section if it has only photos."""
    known = params.load()
    if model in known.models:
        return
    before = params.PARAMS_FILE.read_text(encoding="utf-8")
    after = listed(before, model)
    if model not in known.sections:
        if not is_model_name(model) or not Layout(model).raw.is_dir():
            raise known.unknown_model_error(model)
        after = f"{after.rstrip()}\n\n{model}:\n{indent(STARTER, '  ')}"
        print(f"params.yaml: described {model}; look at it and change what you know better")
    write(params.PARAMS_FILE, after.encode())
    print(f"params.yaml: a bare `dvc repro` now builds {model} too")


def ask_one(layout: Layout) -> tuple[Path, list[Score], float]:
    """Asks the bundle about its first test image, bytes in: the image, the answer, milliseconds."""
    predictor = Predictor.open(layout.bundle)
    image = next(path for path in sorted(layout.test.rglob("*")) if path.is_file())
    data = image.read_bytes()
    predictor.classify(data)  # the first answer is slower than all that follow
    begin = time.perf_counter()
    scores = predictor.top(predictor.classify(data))
    return image, scores, 1000 * (time.perf_counter() - begin)


def summary(
    layout: Layout,
    pin: Pin,
    registry: Registry,
    image: Path,
    scores: list[Score],
    milliseconds: float,
    seconds: float,
) -> str:
    """What `make run` ends with."""
    metrics = read_json(layout.metrics)
    best = ", ".join(f"{score.label} {score.score:.1%}" for score in scores[:3])
    other = "" if layout.model == "digits" else f" MODEL={layout.model}"
    lines = [
        ("model", f"{pin.name}, version {pin.version}, {alias(registry, pin)}"),
        (
            "digest",
            metrics["digest"] + ("" if metrics["digest"] == pin.digest else f" (pinned: {pin.digest})"),
        ),
        ("top-1", _share(metrics, "top1")),
        *([("top-5", _share(metrics, "top5"))] if "top5" in metrics else []),
        ("recall", f"{metrics['recall_macro']:.1%}, mean of the classes"),
        ("baseline", model_card.baseline(metrics)),
        *_eight_bits(metrics),
        ("answer", f"{image.relative_to(layout.test)}: {best}"),
        ("latency", f"{milliseconds:.1f} ms for this image, decoded and classified on one thread"),
        ("report", str(layout.reports / "README.md")),
        ("MLflow", page(registry, pin.name)),
        ("took", f"{seconds:.0f} s"),
        ("next", f"`make classify IMAGE=<file>{other}` asks it, `git add -A && git commit` keeps the pin"),
    ]
    return "\n" + "\n".join(f"  {name:<8} {text}" for name, text in lines)


def alias(registry: Registry, pin: Pin) -> str:
    """Whether the alias `champion` names the pinned version in this registry."""
    held = registry.champion(pin.name)
    if held is not None and held.digest == pin.digest:
        return f"alias {CHAMPION}"
    if registry.find(pin.name, pin.digest) is None:
        return (
            f"which is not in this registry; no alias {CHAMPION}"
            if held is None
            else (f"which is not in this registry; its alias {CHAMPION} is version {held.number}")
        )
    found = "nothing" if held is None else f"version {held.number}"
    return f"but the alias {CHAMPION} is {found}: `python -m pipeline repair {pin.name}` mends it"


def _eight_bits(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    if metrics["precision"] != "int8":
        return []
    loss = metrics["quantisation"]
    return [("int8", f"{loss['lost']} images lost, {loss['gained']} gained against float32")]


def page(registry: Registry, model: str) -> str:
    """Where MLflow shows the model."""
    if registry.embedded:
        return f"`make mlflow` serves it at http://127.0.0.1:5001/#/models/{model}"
    return f"{registry.shown}/#/models/{model}"


def _share(metrics: dict[str, Any], key: str) -> str:
    low, high = metrics[f"{key}_interval"]
    return (
        f"{metrics[key]:.1%} of {metrics['images']} held-out images (95 % interval {low:.1%} to {high:.1%})"
    )
