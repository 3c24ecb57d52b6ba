"""What the Dockerfile says of the image `server`, for pods that are started as processes."""

import json
import re
from dataclasses import dataclass

from tests.repo.imports import ROOT

# The stages of the image, from which it inherits: `unbaked` and `server`.
STAGES = ("unbaked", "server")
ARGUMENT = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Image:
    """What a container gets if its manifest does not say otherwise."""

    environment: dict[str, str]
    entrypoint: list[str]
    user: str
    folder: str


def read_image() -> Image:
    """The image with the default build arguments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    found: dict[str, str] = {}
    environment: dict[str, str] = {}
    for stage in stages:
        if not stage.partition("\n")[0].endswith(tuple(f" AS {name}" for name in STAGES)):
            continue
        for line in stage.splitlines()[1:]:
            instruction, _, rest = line.partition(" ")
            if instruction == "ARG":
                name, _, default = rest.partition("=")
                arguments[name] = default
            elif instruction == "ENV":
                values = dict(pair.split("=", 1) for pair in rest.split())
                environment |= {
                    name: ARGUMENT.sub(lambda match: arguments[match[1]], value)
                    for name, value in values.items()
                }
            else:
                found[instruction] = rest
    return Image(environment, json.loads(found["ENTRYPOINT"]), found["USER"], found["WORKDIR"])
