"""The online half: a bundle in, answers out. It imports nothing from `pipeline`."""
