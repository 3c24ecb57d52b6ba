"""Compares two bundles of one model on the same images, before either of them is deployed."""
