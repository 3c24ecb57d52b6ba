"""What people see: the page at `/`, the documentation, and the document that it is made from."""

from flask import Blueprint, Response, make_response, render_template

from serving.api.openapi import document
from serving.api.responses import json
from serving.api.service import Service
from serving.api.status_routes import outcome, wants_page
from serving.model.decoder import FORMATS, MAX_BYTES
from serving.model.formats.image_file import ACCEPTED

# What a form adds to the file in it: boundaries, headers, the file's name.
FORM_BYTES = 2**10
# What a file dialog offers. A phone converts its HEIC photos where it is told that JPEG is wanted.
KINDS = ",".join(f"image/{name.lower()}" for name in FORMATS)


def routes(service: Service) -> Blueprint:
    """The pages. Their scripts and styles come from this server alone."""
    blueprint = Blueprint("pages", __name__)
    described = document(service)

    @blueprint.get("/")
    def home() -> Response:
        if not wants_page():
            return outcome()
        release = service.release
        return make_response(
            render_template(
                "home.html",
                pin=release.pin,
                metrics=release.metrics,
                accepted=ACCEPTED,
                kinds=KINDS,
                classes=len(service.predictor.labels),
                wants_key=service.access.wants_key,
                max_image=min(MAX_BYTES, service.settings.max_body_bytes - FORM_BYTES),
            )
        )

    @blueprint.get("/docs")
    def docs() -> Response:
        return make_response(render_template("docs.html", document=described))

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return json(described)

    return blueprint
