"""MLflow: registration, promotion, pins and the chain of digests between them."""
