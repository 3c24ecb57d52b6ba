"""The errors of bundles and images, as one tree.

    ServingError
    ├── BundleError                 the bundle or its pin
    │   ├── BundleMissing           bundle_missing
    │   ├── ManifestInvalid         manifest_invalid
    │   ├── FileMissing             file_missing
    │   ├── FileUnexpected          file_unexpected
    │   ├── FileUnreadable          file_unreadable
    │   ├── DigestMismatch          digest_mismatch
    │   ├── ContractBroken          contract_broken
    │   ├── GoldenMismatch          golden_mismatch
    │   ├── ModelMismatch           model_mismatch
    │   ├── PinInvalid              pin_invalid
    │   └── PinMissing              pin_missing
    ├── InputError                  input of the MLflow python_function
    │   └── InputUnsupported        input_unsupported
    └── ImageError                  one image
        ├── ImageEmpty              image_empty
        ├── ImageTooLarge           image_too_large
        ├── ImageUnrecognised       image_unrecognised
        ├── ImageFormatUnsupported  image_format_unsupported
        ├── ImageTooManyPixels      image_too_many_pixels
        ├── ImageTooSmall           image_too_small
        ├── ImageTruncated          image_truncated
        ├── ImageDamaged            image_damaged
        └── ImageTooCostly          image_too_costly

Each class builds its own message and has a stable `code`, which clients may test for. An `ImageError` also
has the `status` of its HTTP response.
"""

from pathlib import Path
from typing import ClassVar

# HEIC is the format of iPhone photos.
HEIC_ADVICE = (
    "Export the photo as JPEG, or choose Settings, Camera, Formats, Most Compatible on the iPhone; "
    "`heif-convert photo.heic photo.jpg` does it on Linux."
)


class ServingError(Exception):
    """Root of the tree. A published `code` never changes."""

    code: ClassVar[str]


class BundleError(ServingError):
    """The bundle differs from what was released and must not be served."""


class BundleMissing(BundleError):
    code = "bundle_missing"

    def __init__(self, path: Path) -> None:
        super().__init__(f"There is no bundle at {path}: it has no manifest.json. `make run` builds one.")


class ManifestInvalid(BundleError):
    code = "manifest_invalid"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not a manifest of this format: {reason}.")


class FileMissing(BundleError):
    code = "file_missing"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is named in the bundle's manifest and is not there.")


class FileUnexpected(BundleError):
    code = "file_unexpected"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} lies in the bundle but its manifest does not name it.")


class FileUnreadable(BundleError):
    code = "file_unreadable"

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path} cannot be read: {reason}.")


class DigestMismatch(BundleError):
    code = "digest_mismatch"

    def __init__(self, path: Path, expected: str, found: str, what: str = "SHA-256") -> None:
        super().__init__(
            f"{path} was changed after its release: its {what} should be {expected} and is {found}."
        )


class ContractBroken(BundleError):
    code = "contract_broken"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} does not fit the rest of the bundle: {reason}.")


class GoldenMismatch(BundleError):
    code = "golden_mismatch"

    def __init__(self, path: Path, difference: float, tolerance: float) -> None:
        super().__init__(
            f"{path} does not give the recorded probabilities: one differs by {difference:.2g}, "
            f"and {tolerance:g} is tolerated."
        )


class ModelMismatch(BundleError):
    code = "model_mismatch"

    def __init__(self, manifest: Path, found: str, pinned: str) -> None:
        super().__init__(
            f"{manifest} is of the model {found!r}, and the pin that names its digest is of {pinned}: "
            "one of the two was written by hand."
        )


class PinInvalid(BundleError):
    code = "pin_invalid"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is not as promote writes it: {reason}. `git log -p {path}` shows the right one."
        )


class PinMissing(BundleError):
    code = "pin_missing"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")


class InputError(ServingError):
    """The input of `predict` cannot be an image."""


class InputUnsupported(InputError):
    code = "input_unsupported"

    def __init__(self, found: str) -> None:
        super().__init__(
            "Give a list or a DataFrame with one column of images, each as the bytes of its file, as base64 "
            f"or a data URL, or as an image of Pillow, not {found}. Path(...).read_bytes() reads a file, "
            "PIL.Image.fromarray(...) makes an image of an array."
        )


class ImageError(ServingError):
    """An image that cannot be classified. It concerns this image alone."""

    status: ClassVar[int] = 422


class ImageEmpty(ImageError):
    """The image has zero bytes."""

    code, status = "image_empty", 400

    def __init__(self) -> None:
        super().__init__("The image has zero bytes. Was the file read before it was sent?")


class ImageTooLarge(ImageError):
    """The image has too many bytes."""

    code, status = "image_too_large", 413

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The image has {size:,} bytes and {limit:,} are allowed. Send a smaller one.")


class ImageUnrecognised(ImageError):
    """The bytes are not an image."""

    code, status = "image_unrecognised", 415

    def __init__(self, accepted: str) -> None:
        super().__init__(f"These bytes are not an image that can be read. Send {accepted}.")


class ImageFormatUnsupported(ImageError):
    """An image in a format that is not accepted; the message says how to convert it."""

    code, status = "image_format_unsupported", 415

    def __init__(self, found: str, accepted: str) -> None:
        how = HEIC_ADVICE if found in ("HEIC", "HEIF") else "Convert the image."
        super().__init__(f"The format {found} is not accepted. {how} Send {accepted}.")


class ImageTooManyPixels(ImageError):
    """The image has too many pixels, or one side is far longer than the other."""

    code, status = "image_too_many_pixels", 413

    def __init__(self, found: str, limit: str) -> None:
        super().__init__(f"The image is too large: {found}; {limit} are allowed. Scale it down.")


class ImageTooSmall(ImageError):
    """The image has too few pixels."""

    code = "image_too_small"

    def __init__(self, width: int, height: int, least: int) -> None:
        super().__init__(f"The image has {width} x {height} pixels; each side needs at least {least}.")


class ImageTruncated(ImageError):
    """The image is truncated: bytes are missing at its end."""

    code = "image_truncated"

    def __init__(self) -> None:
        super().__init__("The image breaks off: bytes are missing at its end. Send all of it again.")


class ImageDamaged(ImageError):
    """The image is damaged."""

    code = "image_damaged"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The image begins well and is damaged further on ({reason}). Send it again.")


class ImageTooCostly(ImageError):
    """Decoding the image takes more memory than one image may take."""

    code, status = "image_too_costly", 413

    def __init__(self) -> None:
        super().__init__(
            "Decoding the image takes more memory than one image may take. "
            "Save it again with another program."
        )
