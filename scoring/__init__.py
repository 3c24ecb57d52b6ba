"""Bulk scoring: classifies many images into Parquet files, on one machine or on a cluster."""
