"""Where the time of the pipeline goes, and what a larger sample costs."""
