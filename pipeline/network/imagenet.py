"""What Keras publishes of ImageNet, known by SHA-256: weights of MobileNetV2, and names of the classes."""

import json
from dataclasses import dataclass

from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import WeightsUnknown
from pipeline.files import sha256_of
from serving.artifact.bundle import Label

# Where keras.applications looks first, for the error that names it when it cannot be had.
WEIGHTS = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5"
)
CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
# More than the largest of these files has.
WEIGHTS_BYTES, CLASSES_BYTES = 2**28, 2**20

# Keras itself checks no weights of MobileNetV2. Whose a file is, by width and SHA-256; for the other widths
# nobody here knows the right one.
KNOWN: dict[float, dict[str, str]] = {
    1.0: {
        "3e195a2857356cfc092cbbb460beb2a5bce279015d7792598b8d3d9e451902e3": "Keras's release",
        # For machines that reach no network. It answers almost, and not quite, as the release does.
        "815beb34e388494a301134caa65a121de3f783a7155525e744fd4671fe8a32d4": (
            "not Keras's release, but recovered from Google's 8-bit model"
        ),
    },
}
CLASSES_SHA256 = "a1e7a966a1f601d39e4b43e119b3e7dd4a2ad3ea08cf69847cbaf021013767bc"


@dataclass(frozen=True)
class Weights:
    """A file of weights. `origin` says whose it is; "" if nobody here has vouched for that SHA-256."""

    file: str
    sha256: str
    origin: str


def weights(alpha: float, environment: Environment) -> Weights:
    """Has MobileNetV2's weights in Keras's cache, or says how: Keras's own error names no way out.

    `WeightsUnknown` if their SHA-256 is none of those that are known for this width.
    """
    url = WEIGHTS.format(alpha=float(alpha))
    path = cached_download(
        url, environment.keras_home, "models", "MobileNetV2's ImageNet weights", WEIGHTS_BYTES
    )
    found, known = sha256_of(path), KNOWN.get(float(alpha), {})
    if known and found not in known:
        raise WeightsUnknown(path, list(known), found)
    if not known:
        print(f"{path}: nobody here knows which SHA-256 it should have; it has {found}")
    return Weights(path.name, found, known.get(found, ""))


def labels(environment: Environment) -> list[Label]:
    """The 1000 classes in the order of the outputs.

    Two birds and machines are both "crane", two garments both "maillot": these get their id behind the name.
    """
    what = "the names of ImageNet's classes"
    path = cached_download(CLASSES, environment.keras_home, "models", what, CLASSES_BYTES)
    if (found := sha256_of(path)) != CLASSES_SHA256:
        raise WeightsUnknown(path, [CLASSES_SHA256], found)
    index = json.loads(path.read_text(encoding="utf-8"))
    pairs = [index[str(number)] for number in range(len(index))]
    names = [name for _, name in pairs]
    return [Label(id, name if names.count(name) == 1 else f"{name} ({id})") for id, name in pairs]
