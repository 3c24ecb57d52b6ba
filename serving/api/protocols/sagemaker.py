"""What SageMaker adds to `/invocations`: an image as the body, under its own Content-Type.

The rest of its contract is met elsewhere: `/ping` is MLflow's too, and the image takes the word `serve`.
"""

from serving.model.decoder import FORMATS

# Whatever a client calls an image, and what AWS's own image models are sent.
PICTURES = tuple(f"image/{name.lower()}" for name in FORMATS)
TYPES = (
    *PICTURES,
    *("image/jpg", "image/x-image", "application/x-image", "application/octet-stream"),
)


def is_image(kind: str) -> bool:
    """Does this Content-Type stand for an encoded image? The decoder finds out of which format."""
    return kind.lower() in TYPES
