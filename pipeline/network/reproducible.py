"""Training with the same bits on every x86-64 CPU, with any number of threads.

Two CPUs, or two numbers of threads, add up a sum in different orders, so results differ in their last bits, and
training multiplies such differences until the models differ. Here training computes in float64 and keeps less than
that: each gradient is rounded to a grid before the optimizer uses it, and the final weights are rounded to another
one. A difference in the last bits of float64 is lost in the rounding instead of growing from step to step. The
method follows Srivastava, Arora and Boneh, "Optimistic Verifiable Training by Controlling Hardware Nondeterminism",
2024, arXiv 2403.09603.

Rounding fails only for a value so close to the middle between two grid points that the difference decides. Measured
on `digits`, with one thread against two: 4e-7 gradients are expected to do so in a step of 408,938, so one training
in 8,000; `tests/pipeline/network/test_same_bits.py` computes it again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.network.backend import keras, tf

# Bits of a gradient that are kept below the power of two of the largest gradient of its variable. Fewer bits make
# ties rarer; with 20 one training in 25 would meet one.
GRADIENT_BITS = 12
# The finest grid of gradients, as a power of two. A shift before a BatchNorm has no gradient but rounding errors
# (1e-15 and less), which Adam would scale up; on this grid they are zero.
FINEST_GRADIENT = -36
# The grid of weights: 6e-8, the precision of float32 for values between 0.5 and 1.
WEIGHT_GRID = 2.0**-24


@contextmanager
def float64() -> Iterator[None]:
    """Networks that are made inside compute in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


class RoundedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam on rounded gradients."""

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Called by Keras in each step."""
        super().apply([rounded_gradient(gradient) for gradient in grads], trainable_variables)


def rounded_gradient(gradient: Any) -> Any:  # noqa: ANN401
    """A float64 tensor on the grid that its largest absolute value decides.

    Powers of two are read and written as bits of a float64 (11 bits of exponent above 52 of fraction), since
    logarithms and powers may differ between CPUs.
    """
    bits = tf.bitcast(tf.reduce_max(tf.abs(gradient)), tf.int64)
    exponent = tf.bitwise.right_shift(bits, 52) - 1023
    power = tf.maximum(exponent - GRADIENT_BITS, FINEST_GRADIENT)
    step = tf.bitcast(tf.bitwise.left_shift(power + 1023, 52), tf.float64)
    return tf.round(gradient / step) * step


def rounded_weights(network: Any) -> list[npt.NDArray[np.float64]]:  # noqa: ANN401
    """The weights of a network on the grid of `WEIGHT_GRID`, without negative zeros, whose bytes would differ."""
    return [np.round(weight / WEIGHT_GRID) * WEIGHT_GRID + 0.0 for weight in network.get_weights()]
