"""Deployment: tests and publishes the container image; the composition; Kubernetes' manifests."""
