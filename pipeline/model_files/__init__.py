"""Model files that users bring: what is in them, read without running their code, and their networks."""
