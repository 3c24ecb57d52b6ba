"""`run <model>`: builds, registers and promotes a model, classifies one test image, prints a summary."""

import time

from pipeline import params
from pipeline.environment import Environment
from pipeline.errors import HistoryShallow, PhotosMissing
from pipeline.layout import Layout
from pipeline.project.git_repository import require_repository
from pipeline.project.pin_guard import describe_machine_difference, differs_by_machine
from pipeline.project.reproduction import missing_photos, reproduce_model
from pipeline.project.run_summary import ExamplePrediction, format_summary
from pipeline.project.starter_params import add_to_params
from pipeline.registry.mlflow_registry import RegisteredVersion, Registry
from pipeline.registry.promotion import promote, was_withdrawn
from pipeline.registry.registration import ensure_registered
from serving.artifact.pin import Pin
from serving.model.predictor import Predictor


def run(model: str) -> None:
    """Runs all steps for one model and prints the summary."""
    begin = time.perf_counter()
    layout = Layout(model)
    require_repository()
    add_to_params(model)
    params.load().for_model(model)
    reproduce_model("register", model)
    if not layout.bundle.exists() and (missing := missing_photos(layout)):
        raise PhotosMissing(model, missing)
    registry = Registry.connect(Environment.read())
    # dvc.lock may record the registration in another registry than this one.
    version = ensure_registered(layout, registry)
    if differs_by_machine(layout, version.digest):
        print("", *describe_machine_difference(layout, version.digest), sep="\n")
        pin = Pin.read(layout.pin)
    else:
        pin = pin_unless_withdrawn(layout, registry, version)
    example = classify_test_image(layout)
    print(format_summary(layout, pin, registry, example, time.perf_counter() - begin))


def pin_unless_withdrawn(layout: Layout, registry: Registry, version: RegisteredVersion) -> Pin:
    """Pins a version unless it was withdrawn; then the pin stays, and the reason is printed."""
    try:
        if not was_withdrawn(layout, version):
            return promote(layout, registry, version)
        reason = f"{layout.model} version {version.number} was pinned before and replaced."
    except HistoryShallow as error:
        reason = str(error)
    print(f"\n{layout.pin} stays as it is. {reason}")
    print(f"`python -m pipeline promote {layout.model}` pins version {version.number} all the same.")
    return Pin.read(layout.pin)


def classify_test_image(layout: Layout) -> ExamplePrediction:
    """Classifies the first test image, or a golden image if there is none, from encoded bytes to scores."""
    predictor = Predictor.open(layout.bundle)
    image = next((path for path in sorted(layout.test.rglob("*")) if path.is_file()), None)
    if image is not None:
        name, data = str(image.relative_to(layout.test)), image.read_bytes()
    else:
        golden = predictor.bundle.golden_images()[0]
        name, data = golden.file, golden.data
    predictor.classify(data)  # warm-up: the first prediction is slower than all others
    begin = time.perf_counter()
    scores = predictor.top(predictor.classify(data))
    return ExamplePrediction(name, scores, 1000 * (time.perf_counter() - begin))
