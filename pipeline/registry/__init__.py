"""MLflow, registration, promotion, pins, and the chain of custody between them."""
