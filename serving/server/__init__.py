"""The HTTP server: Gunicorn with its own worker, connection handling, thread pools and graceful stop."""
