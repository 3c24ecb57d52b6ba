"""The DVC stages, one file each: `python -m pipeline.stages.<stage> <model>`."""
