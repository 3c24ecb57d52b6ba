"""What the worker processes share: a folder in memory, numbers that each adds to, and a table of the workers."""
