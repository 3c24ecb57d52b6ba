"""Durations of the pipeline's stages, and the throughput and memory of `evaluate` and `prepare`."""
