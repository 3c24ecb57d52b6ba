"""The routes that the server has, read from the source."""

import re

from tests.repo.imports import ROOT

ROUTES = {
    (verb.upper(), path)
    for source in (ROOT / "serving/api").glob("*.py")
    for verb, path in re.findall(r'@blueprint\.(get|post)\("([^"]+)"\)', source.read_text(encoding="utf-8"))
}
