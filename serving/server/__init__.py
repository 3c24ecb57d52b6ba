"""The HTTP server: Gunicorn with a worker of its own, its connections, thread pools and shutdown."""
