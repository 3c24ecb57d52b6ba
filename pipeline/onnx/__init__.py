"""ONNX graphs of a Keras model: export, 8-bit quantisation and checks."""
