"""The bundle that is served: its format, the pin that names it, and where it is found or pulled from."""
