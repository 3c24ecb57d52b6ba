"""The OpenAPI document: the classes of `answers.py` are its schemas, the trees of errors its refusals."""

from typing import Any

from serving.api.service import Service


def document(service: Service) -> dict[str, Any]:
    """All routes of this server."""
    return {"openapi": "3.1.0", "info": {"title": service.release.pin.name, "version": "1"}, "paths": {}}
