"""Keras's published ImageNet files: weights, verified by the hashes that are known, and class names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.downloads import cached_download
from pipeline.environment import Environment
from pipeline.errors import WeightsUnknown
from pipeline.files import md5_of, sha256_of
from pipeline.network.families import FAMILIES
from serving.artifact.bundle import Label

CLASSES = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
# Download limits, above the size of the largest of these files.
MAX_WEIGHTS_BYTES, MAX_CLASSES_BYTES = 2**31, 2**20

RELEASE = "Keras's release"
MD5_DIGITS = 32
# The origin of MobileNetV2's weights, by width multiplier (alpha) and SHA-256, because Keras does not
# verify them. For widths that are not listed, the right SHA-256 is not known.
KNOWN_WEIGHTS: dict[float | None, dict[str, str]] = {
    1.0: {
        "3e195a2857356cfc092cbbb460beb2a5bce279015d7792598b8d3d9e451902e3": RELEASE,
        # For machines without a network. Its predictions are close to the release's, but not equal.
        "815beb34e388494a301134caa65a121de3f783a7155525e744fd4671fe8a32d4": (
            "not Keras's release, but recovered from Google's 8-bit model"
        ),
    },
}
CLASSES_SHA256 = "a1e7a966a1f601d39e4b43e119b3e7dd4a2ad3ea08cf69847cbaf021013767bc"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights in Keras's cache; `origin` is empty if its right hash is not known."""

    path: Path
    sha256: str
    origin: str

    def to_json(self) -> dict[str, str]:
        """What the build records: the name, not the place."""
        return {"file": self.path.name, "sha256": self.sha256, "origin": self.origin}


def fetch_weights(
    architecture: str,
    alpha: float | None,
    environment: Environment,
    known: Mapping[float | None, Mapping[str, str]] | None = None,
) -> WeightsFile:
    """Downloads the weights of the 1000-class model into Keras's cache unless they are there; verifies them.

    `known` maps hashes to origins, by width; it is `known_weights(architecture)` unless given.
    Raises `SourceUnavailable` if they cannot be downloaded; unlike Keras's error it tells what to do.
    Raises `WeightsUnknown` if hashes are known for this width and the file has another one.
    """
    family = FAMILIES[architecture]
    width = None if alpha is None else float(alpha)
    path = cached_download(
        family.url(width),
        environment.keras_home,
        "models",
        f"{architecture}'s ImageNet weights",
        MAX_WEIGHTS_BYTES,
        family.cached_as,
    )
    origins = (known_weights(architecture) if known is None else known).get(width, {})
    # Keras states MD5 for most families: 32 digits instead of 64.
    is_md5 = any(len(digest) == MD5_DIGITS for digest in origins)
    found = md5_of(path) if is_md5 else sha256_of(path)
    if origins and found not in origins:
        raise WeightsUnknown(path, list(origins), found, "MD5" if is_md5 else "SHA-256")
    sha256 = sha256_of(path)
    if not origins:
        print(f"{path}: not verified, because its right hash is not known; its SHA-256 is {sha256}")
    return WeightsFile(path, sha256, origins.get(found, ""))


def known_weights(architecture: str) -> Mapping[float | None, Mapping[str, str]]:
    """The hashes of an architecture's weights and their origins, by width."""
    if architecture == "MobileNetV2":
        return KNOWN_WEIGHTS
    return {width: {digest: RELEASE} for width, digest in FAMILIES[architecture].hashes.items()}


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
