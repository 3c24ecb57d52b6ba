"""Random weights for a network whose answers then differ between images, as those of a trained network do.

With Keras's initial values they hardly do, and faults of scaling or conversion would not show.
"""

import numpy as np
import numpy.typing as npt

from pipeline.network.backend import keras

# Standard deviation over images that the logits get.
LOGIT_SPREAD = 2.0


def coloured_noise(count: int, size: int, seed: int) -> npt.NDArray[np.uint8]:
    """Images of different colours and contrasts, uint8 [count,size,size,3]."""
    random = np.random.default_rng(seed)
    colours = random.uniform(0, 255, (count, 1, 1, 3))
    contrast = random.uniform(5, 60, (count, 1, 1, 1))
    # Blocks of eight pixels, because most networks average over noise of single pixels.
    blocks = random.normal(0, 1, (count, -(-size // 8), -(-size // 8), 3)).repeat(8, axis=1).repeat(8, axis=2)
    return (colours + contrast * blocks[:, :size, :size]).clip(0, 255).astype(np.uint8)


def randomise(model: keras.Model, images: npt.NDArray[np.generic], seed: int) -> None:
    """Sets random weights; `images` are in the form that the model takes.

    BatchNorm gets the statistics of the images with noise; the last layer is scaled, so that answers differ.
    """
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        kind = variable.path.rsplit("/", 1)[-1]
        if kind == "gamma":
            # Also LayerScale's, whose initial 0.000001 would switch the blocks of ConvNeXt off.
            variable.assign(random.uniform(0.7, 1.3, variable.shape))
        elif kind in ("beta", "bias"):
            variable.assign(random.normal(0, 0.1, variable.shape))
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
        for variable in layer.non_trainable_variables:
            variable.assign(variable * random.uniform(0.9, 1.1, variable.shape))
    last = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    spread = _log_probabilities(model, images).std(axis=0).mean()
    last.kernel.assign(last.kernel * (LOGIT_SPREAD / spread))
    # Without this, the same class could win for all images.
    last.bias.assign(last.bias - _log_probabilities(model, images).mean(axis=0))


def _log_probabilities(model: keras.Model, images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    probabilities: npt.NDArray[np.float32] = model.predict(images, verbose=0)
    logarithms: npt.NDArray[np.float32] = np.log(probabilities + np.float32(1e-30))
    return logarithms
