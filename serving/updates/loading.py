"""Loads a further version of a model while the server runs."""

from dataclasses import replace

from serving.api.model_versions import ModelVersions
from serving.api.served_model import ServedModel
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from serving.artifact.release import find_local_bundle, load_release, pulled_folder
from serving.updates.errors import LabelsChanged
from serving.updates.pulling import pull
from serving.updates.shared import Shared
from serving.updates.targets import Target


def load_version(versions: ModelVersions, version: Pin, target: Target, shared: Shared) -> ServedModel:
    """Finds or pulls a version, verifies it, and classifies its golden images; raises if any of it fails."""
    settings = shared.settings
    target.check_allowed(version)
    bundle = find_local_bundle(settings, version)
    if bundle is None:
        pull(version, shared.folder)
        bundle = Bundle.open(pulled_folder(settings, version))
    shared.memory.allow(bundle)
    release = load_release(settings, version, bundle)
    model = ServedModel.load(release, shared.folder, settings.abstain_below)
    before = versions.active.labels
    if model.labels != before and not settings.allow_new_labels:
        raise LabelsChanged(before, model.labels)
    return model


def find_loaded(versions: ModelVersions, version: Pin) -> ServedModel | None:
    """The version, if it is loaded already: the one before, or the candidate."""
    for _, model in versions.loaded:
        if model.pin.digest == version.digest:
            return with_pin(model, version)
    return None


def with_pin(model: ServedModel, pin: Pin) -> ServedModel:
    """The same bundle under another version number."""
    return replace(model, release=replace(model.release, pin=pin))
