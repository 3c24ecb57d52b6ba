"""TensorFlow and Keras, started so that the same inputs give the same bits. Import both from here.

What was found out about reproducibility (`tests/pipeline/project/test_run.py` shows the first part):
- On one kind of machine, training gives the same bits, whatever the number of cores: the number of
  threads is fixed, for it decides how sums are split up.
- oneDNN chooses its kernels by what the CPU can do, so TensorFlow's use of it is off, and the part that
  matrix products cannot do without is capped at AVX2.
- What is left: Eigen takes `rsqrtps` and `rcpps`, whose last bits are the CPU's own, and block sizes from its
  caches. An emulated Haswell differed in BatchNorm, softmax and two of five matrix products. Another kind of
  CPU may therefore train a model that is as good, with another digest.
"""

import ctypes
import hashlib
import os
from pathlib import Path

# TensorFlow reads these when it is loaded, so they are set before the imports below.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
os.environ["KERAS_BACKEND"] = "tensorflow"
# Its start-up messages are not for the user; what goes wrong is raised all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# glibc's parameters (malloc.h): what is free at the top beyond the first is returned to the system, the
# second is asked for in advance, and blocks larger than the third (32 MB at the most) are never kept.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def _keep_memory() -> None:
    """Lets the process keep the large blocks that every training step frees and asks for again.

    Measured on two cores: nearly half of the time went into giving them back and forth.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 2**26)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)


def _writable(keras_home: Path) -> Path:
    """Keras looks into a cache only if it may write there; a read-only one is mirrored by links."""
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


_keep_memory()
if os.environ.get("KERAS_HOME"):
    os.environ["KERAS_HOME"] = str(_writable(Path(os.environ["KERAS_HOME"]).expanduser()))
else:
    # Set and empty, it would be the current directory.
    os.environ.pop("KERAS_HOME", None)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

# Fixed, not the number of cores: see above. More threads gain little on images of this size.
THREADS = 2

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "tf"]
