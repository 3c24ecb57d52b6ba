"""The routes that the server has, read from the source."""

import re

from tests.repo.imports import ROOT

# What Flask writes as <kind:name> and OpenAPI as {name}.
PLACE = re.compile(r"<(?:\w+:)?(\w+)>")
ROUTES = {
    (verb.upper(), PLACE.sub(r"{\1}", path))
    for source in (ROOT / "serving/api").rglob("*.py")
    for verb, path in re.findall(r'@blueprint\.(get|post)\("([^"]+)"\)', source.read_text(encoding="utf-8"))
}
