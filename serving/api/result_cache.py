"""The result cache: predictions for images that were sent before, which then cost no slot. Off by default."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from serving.api.request_context import ImageFacts
from serving.api.served_model import ServedModel
from serving.model.decoder import Pixels
from serving.model.predictor import Prediction

# What an entry takes besides the probabilities: keys, objects, and the table.
ENTRY_BYTES = 1024


@dataclass(frozen=True)
class CachedAnswer:
    """A prediction, and what log and drift need of its image. `size` is None for pixels."""

    prediction: Prediction
    facts: ImageFacts
    brightness: float
    size: float | None

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return self.prediction.probabilities.nbytes + ENTRY_BYTES


class ResultCache:
    """The last used answers of one worker, in `limit` bytes; 0: none. Thread-safe.

    The key is a digest of the image and that of the model: another version never gives an old answer. What
    a request asks for besides, such as the number of classes, is computed from the prediction.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._answers: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self._lock = threading.Lock()

    def keys(self, model: ServedModel, images: Sequence[bytes] | Pixels) -> list[bytes]:
        """The key of each image, encoded or uint8 [H,W,C]."""
        return [_key(model, image) for image in images]

    def find(self, keys: Sequence[bytes]) -> list[CachedAnswer] | None:
        """The answers for all images of a request; None unless all of them are there."""
        with self._lock:
            if not all(key in self._answers for key in keys):
                return None
            for key in keys:
                self._answers.move_to_end(key)
            return [self._answers[key] for key in keys]

    def add(self, key: bytes, answer: CachedAnswer) -> None:
        """Adds an answer, and removes those that were not used for the longest time."""
        with self._lock:
            if key in self._answers or answer.bytes > self.limit:
                return
            self._answers[key] = answer
            self.used += answer.bytes
            while self.used > self.limit:
                _, removed = self._answers.popitem(last=False)
                self.used -= removed.bytes


def _key(model: ServedModel, image: bytes | Pixels) -> bytes:
    # Cryptographic: nobody can make an image that gets the answer of another one.
    kind, data = (b"file", image) if isinstance(image, bytes) else (b"pixels", image.tobytes())
    shape = b"" if isinstance(image, bytes) else repr(image.shape).encode()
    digest = hashlib.blake2b(data, digest_size=32, key=kind + shape)
    return digest.digest() + bytes.fromhex(model.pin.digest)
