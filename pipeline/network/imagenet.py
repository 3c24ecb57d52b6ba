"""Keras's published ImageNet files, verified by SHA-256: MobileNetV2 weights and class names."""

import json
from dataclasses import dataclass

from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import WeightsUnknown
from pipeline.files import sha256_of
from serving.artifact.bundle import Label

# The URL that keras.applications downloads from.
WEIGHTS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5"
)
CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
# Download limits, above the size of the largest of these files.
MAX_WEIGHTS_BYTES, MAX_CLASSES_BYTES = 2**28, 2**20

# The origin of weights, by width multiplier (alpha) and SHA-256, because Keras does not verify MobileNetV2's
# weights. For widths that are not listed, the right SHA-256 is not known.
KNOWN_WEIGHTS: dict[float, dict[str, str]] = {
    1.0: {
        "3e195a2857356cfc092cbbb460beb2a5bce279015d7792598b8d3d9e451902e3": "Keras's release",
        # For machines without a network. Its predictions are close to the release's, but not equal.
        "815beb34e388494a301134caa65a121de3f783a7155525e744fd4671fe8a32d4": (
            "not Keras's release, but recovered from Google's 8-bit model"
        ),
    },
}
CLASSES_SHA256 = "a1e7a966a1f601d39e4b43e119b3e7dd4a2ad3ea08cf69847cbaf021013767bc"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights; `origin` is empty if its SHA-256 is not known."""

    file: str
    sha256: str
    origin: str


def fetch_weights(alpha: float, environment: Environment) -> WeightsFile:
    """Downloads MobileNetV2's weights into Keras's cache unless they are there, and verifies them.

    Raises `SourceUnavailable` if they cannot be downloaded; unlike Keras's error it tells what to do.
    Raises `WeightsUnknown` if SHA-256 values are known for this width and the file has another one.
    """
    url = WEIGHTS.format(alpha=float(alpha))
    path = cached_download(
        url, environment.keras_home, "models", "MobileNetV2's ImageNet weights", MAX_WEIGHTS_BYTES
    )
    found, known = sha256_of(path), KNOWN_WEIGHTS.get(float(alpha), {})
    if known and found not in known:
        raise WeightsUnknown(path, list(known), found)
    if not known:
        print(f"{path}: not verified, because the right SHA-256 for this width is not known; it has {found}")
    return WeightsFile(path.name, found, known.get(found, ""))


def fetch_labels(environment: Environment) -> list[Label]:
    """The 1000 classes in the order of the outputs.

    Two classes are called "crane" and two "maillot"; their ids are appended to these names.
    """
    description = "the names of ImageNet's classes"
    path = cached_download(CLASSES, environment.keras_home, "models", description, MAX_CLASSES_BYTES)
    if (found := sha256_of(path)) != CLASSES_SHA256:
        raise WeightsUnknown(path, [CLASSES_SHA256], found)
    index = json.loads(path.read_text(encoding="utf-8"))
    pairs = [index[str(number)] for number in range(len(index))]
    names = [name for _, name in pairs]
    return [Label(id, name if names.count(name) == 1 else f"{name} ({id})") for id, name in pairs]
