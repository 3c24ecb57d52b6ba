"""Imports TensorFlow and Keras, configured for reproducible results. Import both from here.

Findings about reproducibility:
- The number of threads determines how sums are split, so it is fixed: one kind of CPU then gives the same
  bits for any number of cores.
- oneDNN selects kernels by CPU features. TensorFlow's use of it is off, and the part that matrix products
  cannot do without is limited to AVX2.
- Remaining: Eigen uses `rsqrtps` and `rcpps`, whose last bits depend on the CPU, and block sizes derived from
  the CPU's caches. In float32 an emulated Haswell differed in BatchNorm, softmax and two of five matrix
  products. `pipeline/network/reproducible.py` removes what is left of this in training.
"""

import ctypes
import hashlib
import os
from pathlib import Path

# TensorFlow reads these when it is loaded, so they are set before the imports below.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
os.environ["KERAS_BACKEND"] = "tensorflow"
# Hides start-up messages; errors are raised nevertheless.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# Parameters of glibc's mallopt (malloc.h): free memory at the top of the heap beyond the first is returned to
# the system, the second is allocated in advance, and blocks above the third (at most 32 MB) are mapped.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def _retain_freed_memory() -> None:
    """Makes malloc keep the large blocks that every training step frees and allocates again.

    Measured on two cores: returning them to the system took nearly half of the training time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 2**26)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)


def _writable_cache(keras_home: Path) -> Path:
    """Keras ignores a cache that it cannot write to; a read-only one is mirrored with symbolic links."""
    if os.access(keras_home, os.W_OK) or not keras_home.is_dir():
        return keras_home
    source = keras_home.resolve()
    mirror = Path(".keras").resolve() / hashlib.sha256(str(source).encode()).hexdigest()[:12]
    for path in source.rglob("*"):
        link = mirror / path.relative_to(source)
        if path.is_file() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return mirror


_retain_freed_memory()
if os.environ.get("KERAS_HOME"):
    os.environ["KERAS_HOME"] = str(_writable_cache(Path(os.environ["KERAS_HOME"]).expanduser()))
else:
    # An empty value would mean the current directory.
    os.environ.pop("KERAS_HOME", None)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

# Independent of the number of cores, see above. More threads gain little on images of this size.
THREADS = 2

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "saved_model_pb2", "tf"]
