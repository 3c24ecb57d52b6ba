"""Benchmarks, each a command. The documents show their results; no test depends on a time."""
