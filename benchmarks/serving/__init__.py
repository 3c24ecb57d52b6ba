"""This server beside its peers, on the same model, photos and cores: `python -m benchmarks.serving`."""
