"""SageMaker's addition to `/invocations`: an image as the body, with its own Content-Type.

The rest of its contract is met elsewhere: `/ping` is also MLflow's, and the container image accepts the
command `serve`.
"""

from serving.model.decoder import FORMATS

# Media types that clients use for images, and those of AWS's own image models.
IMAGE_TYPES = tuple(f"image/{name.lower()}" for name in FORMATS)
TYPES = (
    *IMAGE_TYPES,
    *("image/jpg", "image/x-image", "application/x-image", "application/octet-stream"),
)


def is_image_type(media_type: str) -> bool:
    """Is it the type of an encoded image? The format is detected by the decoder."""
    return media_type.lower() in TYPES
