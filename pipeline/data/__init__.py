"""Labelled photos: sources, archives, folder layouts, checks, duplicates and the split."""
