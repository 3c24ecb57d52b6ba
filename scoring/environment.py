"""Reads the environment. Ray, Arrow and the server's settings (serving/config.py) read more of it."""

import os

# Without an address Ray looks for a cluster of this machine, and waits for one that has ended.
LOCAL = "local"
# Addresses of other stores with S3's protocol, as AWS's own tools read them; the first one that is set.
S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def ray_address() -> str:
    """The cluster of `RAY_ADDRESS`, or `LOCAL`."""
    return os.environ.get("RAY_ADDRESS") or LOCAL


def s3_endpoint() -> str | None:
    """The address of the store that `s3://` means; None for AWS."""
    return next(filter(None, map(os.environ.get, S3_ENDPOINTS)), None)


def configure_ray() -> None:
    """Sets what Ray reads when it starts, unless it is set."""
    # No statistics are sent to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray logs as an error that the arguments of actors must live as long as they do. They do: the first
    # process keeps them until the end.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
