"""Keras networks: architectures, training and canonical `.keras` files."""
