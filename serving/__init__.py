"""The online half: a bundle in, answers out. It imports nothing from `pipeline`."""

import os

# ONNX Runtime 1.29 and later writes an identifier of the machine to the disk, and reports machine and models
# to its maker, unless it is told not to before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
