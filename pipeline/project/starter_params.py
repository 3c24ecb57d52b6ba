"""Adds a model to params.yaml, with a starter section if only its photos exist."""

from textwrap import indent

from pipeline import params
from pipeline.files import write
from pipeline.layout import Layout
from pipeline.model_names import is_model_name
from pipeline.project import yaml_edits

# The usual values for a few hundred photos per class. The floors refuse a model that has learned nothing,
# such as random guesses or a constant prediction, for any number and any sizes of classes.
STARTER_SECTION = """\
prepare:
  split: auto           # folders named train, val, test if present, else by content; or folders, content
  stratify: true        # keep these shares in small classes too; a new photo may move another one
  valid: 0.1
  test: 0.2
  min_per_class: 10
  convert: []           # formats to convert to PNG: TIFF, HEIC, AVIF
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
  layers: 30            # the last 30 of the 155 layers of the backbone
export:
  golden: 4
  precision: float32    # or int8: half the latency on many CPUs; judging its loss takes 200 test photos
  calibration: 64
evaluate:
  min_top1: 0.5
  min_top5: 0.5         # checked if there are more than five classes
  min_recall: 0.6       # mean of the classes, each counts alike
  min_over_majority: 0.2  # share of the errors of always predicting the commonest class to avoid; 0: no check
  min_agreement: 0.99
  max_quantisation_loss: 0.005
  max_latency_ms: 200
  significance: 0.05
register:
  description: Made from a folder of photos.
"""


def add_to_params(model: str) -> None:
    """Adds a model to the list `models` of params.yaml, and a starter section if it has only photos."""
    document = params.load()
    if model in document.models:
        return
    text = yaml_edits.add_to_models(params.PARAMS_FILE.read_text(encoding="utf-8"), model)
    if model not in document.sections:
        if not is_model_name(model) or not Layout(model).raw.is_dir():
            raise document.unknown_model_error(model)
        text = f"{text.rstrip()}\n\n{model}:\n{indent(STARTER_SECTION, '  ')}"
        print(f"params.yaml: described {model}; look at it and change what you know better")
    write(params.PARAMS_FILE, text.encode())
    print(f"params.yaml: a bare `dvc repro` now builds {model} too")
