"""Trains a model of params.yaml as `build` does, and saves weights and a sample of unrounded gradients.

python -m tests.pipeline.network.sampled_training <model> <prepared folder> <epochs> <every n-th step> <npz>

Environment: `THREADS`; `TF_ENABLE_ONEDNN_OPTS` and `ONEDNN_MAX_CPU_ISA`, to override those of the pipeline.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

KERNELS = {key: value for key, value in os.environ.items() if key.startswith(("TF_ENABLE", "ONEDNN_"))}

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from pipeline import params  # noqa: E402
from pipeline.network import architectures, training  # noqa: E402
from pipeline.network.backend import keras  # noqa: E402
from pipeline.network.reproducible import RoundedAdam, cosine_decay, float64, rounded_weights  # noqa: E402
from serving.model.decoder import Preprocessing  # noqa: E402

# Both are read when the first operation runs, after `backend` has set its own.
os.environ.update(KERNELS)
tf.config.threading.set_intra_op_parallelism_threads(int(os.environ.get("THREADS", "2")))


def main(model: str, prepared: str, epochs: int, every: int, target: str) -> None:
    """Prints a digest of the weights after each epoch; saves weights, gradients and the gradients' sizes."""
    settings = params.load().for_model(model).build
    assert isinstance(settings, params.Scratch)
    names = sorted(path.name for path in (Path(prepared) / "train").iterdir())
    preprocessing = Preprocessing.square(settings.size, settings.crop)
    keras.utils.set_random_seed(settings.seed)
    with TemporaryDirectory() as folder, float64():
        network = architectures.build_scratch(settings, len(names))
        network.set_weights(rounded_weights(network))
        file = Path(folder) / "train.npy"
        dataset = training.load_dataset(Path(prepared) / "train", names, preprocessing, file)
        batches = training.Batches(dataset, settings.batch, settings.augment, settings.seed)
        total = len(batches) * settings.training.epochs
        rate = cosine_decay(settings.training.learning_rate, total)
        step, sampled = training_step(network, RoundedAdam(rate)), []
        for number in range(len(batches) * epochs):
            gradients = step(*batches[number % len(batches)])
            if number % every == 0:
                sampled.append(gradients.numpy())
            if (number + 1) % len(batches) == 0:
                batches.on_epoch_end()
                print(digest(network), flush=True)
    sizes = [int(np.prod(variable.shape)) for variable in network.trainable_variables]
    weights = np.concatenate([weight.ravel() for weight in rounded_weights(network)])
    np.savez(target, weights=weights, gradients=np.array(sampled), sizes=sizes)


def training_step(network: Any, optimizer: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    """One step of Keras's `fit`; it returns all gradients in one vector, before they are rounded."""
    model = keras.Model(network.input, network.output)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    optimizer.build(model.trainable_variables)

    def step(pixels: Any, classes: Any) -> Any:  # noqa: ANN401
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=pixels, y=classes, y_pred=model(pixels, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)

    result: Callable[[Any, Any], Any] = tf.function(step, reduce_retracing=True)
    return result


def digest(network: Any) -> str:  # noqa: ANN401
    """A digest of the rounded weights."""
    return hashlib.sha256(b"".join(weight.tobytes() for weight in rounded_weights(network))).hexdigest()[:16]


if __name__ == "__main__":
    name, images, *numbers, file = sys.argv[1:]
    main(name, images, int(numbers[0]), int(numbers[1]), file)
