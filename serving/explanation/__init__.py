"""Explains predictions: which places of an image speak for a class, and a picture of it."""
