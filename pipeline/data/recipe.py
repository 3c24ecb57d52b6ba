"""`source.yaml`, the recipe that says where a model's images come from."""

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, ValidationError

from pipeline.errors import SourceInvalid
from pipeline.params import Section

RECIPE = "source.yaml"
# Of the photos of data/raw/imagenet/source.yaml.
IMAGENET_PHOTOS = "e912fd91c0d65c122bbd9ba64f7943b2b71318bf77b3c7e274a6ae7a059e4026"


def _check_class_pattern(text: str) -> str:
    if "class" not in re.compile(text).groupindex:
        raise ValueError("needs a group (?P<class>...)")
    return text


class BuiltinSource(Section):
    """A data set that comes with a library."""

    builtin: Literal["digits"]


class ArchiveSource(Section):
    """A zip file. `classes` is a regular expression that selects the images and captures the class."""

    url: str
    classes: Annotated[str, AfterValidator(_check_class_pattern)]
    sha256: str


def read_recipe(path: Path) -> BuiltinSource | ArchiveSource:
    """Reads a recipe; `SourceInvalid` if it is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        is_builtin = isinstance(document, dict) and "builtin" in document
        return (BuiltinSource if is_builtin else ArchiveSource).model_validate(document)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise SourceInvalid(path, "; ".join(faults)) from None
    except (yaml.YAMLError, re.error, UnicodeDecodeError) as error:
        raise SourceInvalid(path, str(error)) from None


def builtin_data_set(raw: Path) -> str | None:
    """`digits` or `imagenet` if the data of this folder are the project's own; None for the user's."""
    if not (raw / RECIPE).exists():
        return None
    source = read_recipe(raw / RECIPE)
    if isinstance(source, BuiltinSource):
        return source.builtin
    return "imagenet" if source.sha256 == IMAGENET_PHOTOS else None
