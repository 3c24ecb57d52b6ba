"""Runs one task in a process of its own: `python -m benchmarks.pipeline.timed_task TASK FOLDER [BUNDLE]`.

`answers` classifies a folder `<class>/<photo>` with a bundle, as the stage `evaluate` does; `checks` decodes
the photos and looks for duplicates, as `prepare` does. Prints one JSON object: number of images, seconds, and
peak resident memory of the process before the task and after it.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.data.images import LabelledImage, check_images, find_duplicates
from pipeline.data.labelled_photos import scan_folder
from pipeline.evaluation.batch_prediction import predict_folder
from serving.model.predictor import Predictor

STATUS = Path("/proc/self/status")


def prediction_task(folder: Path, bundle: Path) -> Callable[[], int]:
    """Opens the bundle; the returned task classifies the photos and returns their number."""
    predictor = Predictor.open(bundle)
    return lambda: len(predict_folder(predictor, folder).files)


def check_task(folder: Path) -> Callable[[], int]:
    """The returned task checks the photos and returns their number."""

    def run() -> int:
        inspected = list(check_images(folder, scan_folder(folder).photos))
        find_duplicates(image for image in inspected if isinstance(image, LabelledImage))
        return len(inspected)

    return run


def peak_memory() -> float:
    """Peak resident memory of this process so far, MB."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} has no line VmHWM; this needs Linux.")
    return int(found[1]) / 1024


def main(arguments: list[str]) -> None:
    """Prepares the task, runs it and prints the figures."""
    name, folder, *bundle = arguments
    task = prediction_task(Path(folder), Path(bundle[0])) if name == "answers" else check_task(Path(folder))
    before, began = peak_memory(), time.monotonic()
    images = task()
    seconds = time.monotonic() - began
    figures = {"images": images, "seconds": seconds, "before_mb": before, "peak_mb": peak_memory()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
