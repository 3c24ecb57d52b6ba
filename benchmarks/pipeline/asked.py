"""One measurement in a process of its own: `python -m benchmarks.pipeline.asked TASK FOLDER [BUNDLE]`.

`answers` asks a bundle about a folder `<class>/<photo>`, as the stage `evaluate` does; `checks` decodes and
compares the photos, as `prepare` does. Prints one JSON object: images, seconds, and the most memory that the
process has had (resident), before that and in all.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.data.images import Labelled, duplicates, inspect
from pipeline.data.labelled_photos import listing
from pipeline.evaluation.batch_prediction import predict_folder
from serving.model.predictor import Predictor

STATUS = Path("/proc/self/status")


def answers(folder: Path, bundle: Path) -> Callable[[], int]:
    """Opens the bundle; what is to be timed gives the number of images."""
    predictor = Predictor.open(bundle)

    def run() -> int:
        return len(predict_folder(predictor, folder).files)

    return run


def checks(folder: Path) -> Callable[[], int]:
    """What is to be timed gives the number of images."""

    def run() -> int:
        inspected = list(inspect(folder, listing(folder).files))
        duplicates(image for image in inspected if isinstance(image, Labelled))
        return len(inspected)

    return run


def peak_mb() -> float:
    """The most that was resident so far, as the kernel notes it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"{STATUS} does not tell the peak of memory; this needs Linux.")
    return int(found[1]) / 1024


def main(arguments: list[str]) -> None:
    """Prepares, runs, and prints."""
    task, folder, *bundle = arguments
    run = answers(Path(folder), Path(bundle[0])) if task == "answers" else checks(Path(folder))
    before, began = peak_mb(), time.monotonic()
    images = run()
    seconds = time.monotonic() - began
    seen = {"images": images, "seconds": seconds, "before_mb": before, "peak_mb": peak_mb()}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1:])
