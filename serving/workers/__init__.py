"""What the worker processes share: a folder in memory, numbers, and what they agree on."""
