"""Deployment: testing and publishing the container image, and the composition of services."""
