"""Predictions on test images, metrics, plots, the gate and the model card."""
