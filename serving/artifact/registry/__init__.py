"""An MLflow registry, read without MLflow's library: its SQLite database or its server's REST API."""
