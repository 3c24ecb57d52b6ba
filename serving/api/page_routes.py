"""Routes of the pages for people (`/` and `/docs`) and of the OpenAPI document."""

from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, g, make_response, render_template

from serving.api.openapi import openapi_document
from serving.api.responses import json_response
from serving.api.served_model import ServedModel
from serving.api.service import Service
from serving.api.status_routes import outcome_response, prefers_html
from serving.artifact.pin import Pin
from serving.model.decoder import FORMATS, MAX_BYTES
from serving.model.formats.image_file import ACCEPTED

# Bytes that a form adds to the file: boundaries, headers and the file name.
FORM_BYTES = 2**10
# Types for the file dialog. A phone that does not find HEIC among them converts its photos to JPEG.
ACCEPT = ",".join(f"image/{name.lower()}" for name in FORMATS)


def routes(service: Service) -> Blueprint:
    """The pages. Their scripts and styles are loaded from this server only."""
    blueprint = Blueprint("pages", __name__)

    @lru_cache(1)
    def describe(_: tuple[tuple[str, Pin], ...]) -> dict[str, Any]:
        """Described again if other versions are loaded."""
        return openapi_document(service)

    def document() -> dict[str, Any]:
        return describe(tuple((entry.role, entry.pin) for entry in service.models.all_entries))

    @blueprint.get("/")
    def home() -> Response:
        if not prefers_html():
            return outcome_response()
        model: ServedModel = g.model
        release = model.release
        return make_response(
            render_template(
                "home.html",
                pin=release.pin,
                metrics=release.metrics,
                accepted=ACCEPTED,
                file_types=ACCEPT,
                classes=len(model.labels),
                models=[versions.name for versions in service.models.models],
                explains=service.settings.explain,
                requires_key=service.access.requires_key,
                max_image=min(MAX_BYTES, service.settings.max_body_bytes - FORM_BYTES),
            )
        )

    @blueprint.get("/docs")
    def docs() -> Response:
        return make_response(render_template("docs.html", document=document()))

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return json_response(document())

    return blueprint
