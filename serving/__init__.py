"""The online half: serves the predictions of a bundle over HTTP. It imports nothing from `pipeline`."""

import os

# ONNX Runtime 1.29 and later writes a machine identifier to the disk and sends telemetry about machine and
# models to its vendor, unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
