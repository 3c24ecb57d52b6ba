"""Brightness of an image. The pipeline measures it on validation images, the server on those that it gets."""

from serving.model.decoder import Pixels

# Places in each direction. A thousand of them take 5 microseconds. In 300 photos their mean differed by at
# most 0.015 from that of all pixels.
PLACES = 32


def brightness(pixels: Pixels) -> float:
    """Mean of the model's input uint8 [H,W,C], from 0 (black) to 1 (white), on a grid of `PLACES` squared.

    The sum is of integers, so that all CPUs give the same bits: histograms of it are part of the digest.
    """
    height, width, _ = pixels.shape
    rows, columns = -(-height // PLACES), -(-width // PLACES)
    grid = pixels[rows // 2 :: rows, columns // 2 :: columns]
    return int(grid.sum(dtype="uint64")) / (255 * grid.size)
