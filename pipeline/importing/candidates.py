"""The ways to prepare pixels that are tried on labelled photos."""

from dataclasses import replace
from itertools import product

from pipeline.errors import DeclarationImpossible
from pipeline.importing.declaration import Channels, Declaration
from pipeline.model_files.model_file import Description
from pipeline.params import Scale
from serving.model.preprocessing import Filter, Preprocessing, Resize

# The conventions of keras.applications, torchvision and tutorials.
SCALES: tuple[Scale, ...] = ("inside", [-1.0, 1.0], [0.0, 1.0], "none", "torch", "caffe")
# Resizing: how, the share kept by a crop. 0.875 is the central crop of ImageNet's evaluation.
RESIZES: tuple[tuple[Resize, float], ...] = (("crop", 0.875), ("crop", 1.0), ("squash", 1.0), ("pad", 1.0))
# Filters, and whether they average over all pixels when they shrink. Keras's layers and TensorFlow do not,
# unless asked to.
FILTERS: tuple[tuple[Filter, bool], ...] = (("bicubic", True), ("bilinear", True), ("bilinear", False))


def first_guess(description: Description, size: tuple[int, int]) -> Declaration:
    """What the file itself says, and the most usual way for what it does not say."""
    channels: Channels = "grey" if description.channels == 1 else "RGB"
    layer = description.resize
    preprocessing = Preprocessing(
        height=size[0],
        width=size[1],
        channels=description.channels,
        resize=layer.resize if layer else "crop",
        crop=1.0 if layer else 0.875,
        filter=layer.filter if layer else "bicubic",
        antialias=layer.antialias if layer else True,
    )
    return Declaration(preprocessing, channels, "inside" if description.scaling else [-1.0, 1.0])


def scale_candidates(around: Declaration, description: Description) -> list[Declaration]:
    """Every scale and order of channels with the resizing of `around`; the same map is listed once."""
    orders: tuple[Channels, ...] = ("grey",) if description.channels == 1 else ("RGB", "BGR")
    found: dict[object, Declaration] = {_identity(around, description): around}
    for scale, channels in product(SCALES, orders):
        candidate = replace(around, channels=channels, scale=scale)
        try:
            found.setdefault(_identity(candidate, description), candidate)
        except DeclarationImpossible:
            continue
    return list(found.values())


def resize_candidates(around: Declaration) -> list[Declaration]:
    """Every way to resize with the scale of `around`."""
    found = {around.preprocessing: around}
    for (resize, crop), (filter_, antialias) in product(RESIZES, FILTERS):
        preprocessing = replace(
            around.preprocessing, resize=resize, crop=crop, filter=filter_, antialias=antialias
        )
        found.setdefault(preprocessing, replace(around, preprocessing=preprocessing))
    return list(found.values())


def _identity(candidate: Declaration, description: Description) -> object:
    scaling = candidate.scaling(description)
    rounded = [tuple(round(value, 5) for value in values) for values in (scaling.factor, scaling.offset)]
    return candidate.channels, *rounded
