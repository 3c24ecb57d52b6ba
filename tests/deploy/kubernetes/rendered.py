"""The manifests as kustomize renders them, of the repository or of a copy with another pin."""

import re
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.manifests import FOLDER, build
from tests.repo.imports import ROOT

KUBERNETES = ROOT / FOLDER
OVERLAYS = ("plain", "kserve", "knative")
COMPONENTS = ("api-keys", "trusted-keys", "registry", "monitoring")
# The path of the pod's fields in each kind that has some.
POD_PATHS = {
    "Deployment": ("spec", "template", "spec"),
    "InferenceService": ("spec", "predictor"),
    "serving.knative.dev": ("spec", "template", "spec"),
}
Document = dict[str, Any]


def copy_of_the_manifests(folder: Path, pins: dict[str, bytes], components: Iterable[str] = ()) -> Path:
    """Copies the manifests to `folder / "deploy/kubernetes"`, with these pins and components.

    Components are switched on as docs/kubernetes.md says: by the line of the overlay without its `#`.
    """
    for name in ("kubernetes", "prometheus", "grafana"):
        shutil.copytree(ROOT / "deploy" / name, folder / "deploy" / name)
    (folder / "pins").mkdir()
    for name, data in pins.items():
        (folder / "pins" / name).write_bytes(data)
    for overlay in OVERLAYS:
        file = folder / FOLDER / overlay / "kustomization.yaml"
        text = file.read_text(encoding="utf-8")
        for name in components:
            line = f"- ../components/{name}\n"
            assert f"# {line}" in text
            text = text.replace(f"# {line}", line)
        file.write_text(text, encoding="utf-8")
    return folder / FOLDER


@cache
def _build(folder: Path) -> str:
    """What kustomize makes of a folder that no test changes."""
    return build(folder)


def documents(overlay: str, folder: Path = KUBERNETES) -> list[Document]:
    """The objects of an overlay, which the caller may change."""
    text = _build(folder / overlay) if folder == KUBERNETES else build(folder / overlay)
    return list(yaml.load_all(text, yaml.CSafeLoader))


def find(objects: list[Document], kind: str, name: str = "") -> Document:
    """The only object of a kind whose name begins with `name`."""
    (found,) = [
        each for each in objects if each["kind"] == kind and each["metadata"]["name"].startswith(name)
    ]
    return found


def pod_of(objects: list[Document]) -> Document:
    """The fields of the pod in the object that has one, without those that are no pod's."""
    for each in objects:
        path = POD_PATHS.get(each["kind"]) or POD_PATHS.get(each["apiVersion"].partition("/")[0])
        if path:
            for key in path:
                each = each[key]
            return each
    raise AssertionError("no object has a pod")


def seconds(settings: Document, name: str) -> float:
    """A setting of the ConfigMap as a number."""
    return float(settings["data"][name])


def mebibytes(quantity: str) -> int:
    """A quantity such as 512Mi."""
    match = re.fullmatch(r"(\d+)Mi", quantity)
    assert match
    return int(match[1])
