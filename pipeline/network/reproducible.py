"""Training with the same bits on every x86-64 CPU with AVX2, with any number of threads.

Two CPUs, or two numbers of threads, add up a sum in different orders, so results differ in their last bits,
and training multiplies such differences until the models differ. Here training computes in float64 and keeps
less than that: each gradient is rounded to a grid before the optimizer uses it, and the final weights are
rounded to another one. A difference in the last bits of float64 is lost in the rounding instead of growing
from step to step. The method follows Srivastava, Arora and Boneh, "Optimistic Verifiable Training by
Controlling Hardware Nondeterminism", 2024, arXiv 2403.09603.

Rounding fails only for a value so close to the middle between two grid points that the difference decides.
`tests/pipeline/network/test_same_bits.py` measures how often that is to be expected.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.network.backend import keras, tf

# Bits of a gradient that are kept below the power of two of the largest gradient of its variable. Fewer bits
# make ties rarer: with 20 one training of `digits` in 30 would meet one, with 12 one in 8,000.
GRADIENT_BITS = 12
# The finest grid of gradients, as a power of two. A shift before a BatchNorm has no gradient but rounding
# errors (1e-15 and less), which Adam would scale up; on this grid they are zero.
FINEST_GRADIENT = -36
# The grid of weights: 6e-8, the precision of float32 for values between 0.5 and 1.
WEIGHT_GRID = 2.0**-24
# A float64 has 11 bits of exponent, which is stored with an offset, above 52 bits of fraction.
FRACTION_BITS, EXPONENT_OFFSET = 52, 1023


@contextmanager
def float64() -> Iterator[None]:
    """Networks, losses, metrics and learning rates that are made inside compute in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def cosine_decay(learning_rate: float, steps: int) -> Any:  # noqa: ANN401
    """Keras's cosine decay in float64; for a Python float it would compute in float32."""
    return keras.optimizers.schedules.CosineDecay(np.float64(learning_rate), steps)


class RoundedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam on rounded gradients."""

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Called by Keras in each step."""
        super().apply([rounded_gradient(gradient) for gradient in grads], trainable_variables)


def rounded_gradient(gradient: Any) -> Any:  # noqa: ANN401
    """A float64 tensor on the grid that its largest absolute value decides.

    Infinite values and NaN stay what they are.
    """
    step = gradient_step(gradient)
    return tf.round(gradient / step) * step


def gradient_step(gradient: Any) -> Any:  # noqa: ANN401
    """The distance of two points of the grid: a power of two, float64.

    Powers of two are read and written as bits, since logarithms and powers may differ between CPUs.
    """
    bits = tf.bitcast(tf.reduce_max(tf.abs(gradient)), tf.int64)
    exponent = tf.bitwise.right_shift(bits, FRACTION_BITS) - EXPONENT_OFFSET
    power = tf.maximum(exponent - GRADIENT_BITS, FINEST_GRADIENT)
    return tf.bitcast(tf.bitwise.left_shift(power + EXPONENT_OFFSET, FRACTION_BITS), tf.float64)


def fits_float32(network: Any) -> bool:  # noqa: ANN401
    """Whether all weights are finite, also as float32."""
    largest = float(np.finfo(np.float32).max)
    return all(bool((np.abs(weight) <= largest).all()) for weight in network.get_weights())


def rounded_weights(network: Any) -> list[npt.NDArray[np.float64]]:  # noqa: ANN401
    """The weights of a network on the grid of `WEIGHT_GRID`; a negative zero, other bytes, becomes zero."""
    return [np.round(weight / WEIGHT_GRID) * WEIGHT_GRID + 0.0 for weight in network.get_weights()]
