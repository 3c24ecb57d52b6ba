"""Where the version comes from that a model should have: its pin, or an alias of the registry."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from serving.artifact.pin import Pin
from serving.artifact.registry.alias import find_alias
from serving.config import Settings
from serving.updates.errors import DigestNotAllowed, NotAskedYet

# After each failure the registry is asked half as often, down to once in this many seconds.
LONGEST_INTERVAL, MAX_DOUBLINGS = 600.0, 10
# Part of the interval by which it varies, so that many servers do not ask at the same moment.
JITTER = 0.2


class Target(Protocol):
    """What a model should be; `name` is for people."""

    name: str

    def refresh(self, at_once: bool) -> None:
        """Finds out where it leads, if it is time for that; `at_once`: in any case. Does not wait."""

    def read(self) -> Pin:
        """Where it leads; may raise."""

    def check_allowed(self, version: Pin) -> None:
        """Raises `DigestNotAllowed` unless the version may be loaded."""


class PinTarget:
    """The pin in the workspace. It is read every time: it is a small file."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._path = settings.pins / f"{model}.json"
        self.name = str(self._path)

    def refresh(self, at_once: bool) -> None:
        pass

    def read(self) -> Pin:
        return Pin.read(self._path)

    def check_allowed(self, version: Pin) -> None:
        """A pin allows itself."""


class AliasTarget:
    """An alias in the registry, which is asked every `settings.poll` seconds, in a thread.

    Whoever can write to the registry can move it. So it may lead only to digests that the pin names, or whose
    signature is checked when they are loaded.
    """

    def __init__(self, settings: Settings, model: str, alias: str) -> None:
        self._settings, self._model, self._alias = settings, model, alias
        self.name = f"{model}@{alias}"
        self._found: Pin | Exception | None = None
        self._failures, self._next_poll = 0, 0.0
        self._polling: threading.Thread | None = None

    def refresh(self, at_once: bool) -> None:
        if self._polling and self._polling.is_alive():
            return
        if at_once or time.monotonic() >= self._next_poll:
            self._polling = threading.Thread(target=self._poll, name=f"poll-{self.name}", daemon=True)
            self._polling.start()

    def read(self) -> Pin:
        """Where the alias led when it was last asked for. Raises what the last attempt has raised."""
        found = self._found
        if found is None:
            raise NotAskedYet(self.name)
        if isinstance(found, Pin):
            return found
        # The same object every time: its traceback would grow.
        raise found.with_traceback(None)

    def check_allowed(self, version: Pin) -> None:
        if self._settings.trusted_keys:
            return
        path = self._settings.pins / f"{self._model}.json"
        pin = Pin.read(path)
        if version.digest not in (pin.digest, *pin.allowed):
            raise DigestNotAllowed(self._alias, version, path)

    def _poll(self) -> None:
        settings = self._settings
        try:
            self._found = find_alias(self._model, self._alias, settings.registry, settings.credentials)
            self._failures = 0
        # Also of answers of a kind that nobody has thought of.
        except Exception as error:  # noqa: BLE001
            self._found = error
            self._failures += 1
        interval = min(LONGEST_INTERVAL, settings.poll * 2.0 ** min(self._failures, MAX_DOUBLINGS))
        jitter = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311  (no secret)
        self._next_poll = time.monotonic() + max(interval, settings.poll) * jitter


def find_target(settings: Settings, model: str) -> Target:
    """The alias that is set for a model, or else its pin."""
    alias = _alias_of(model, settings.follow)
    return PinTarget(settings, model) if alias is None else AliasTarget(settings, model, alias)


def find_candidates(settings: Settings, model: str) -> Target | None:
    """The alias that names the candidates of a model; None if none is set."""
    alias = _alias_of(model, settings.candidates)
    return None if alias is None else AliasTarget(settings, model, alias)


def _alias_of(model: str, followed: Sequence[str]) -> str | None:
    aliases = dict(entry.split("@", 1) for entry in followed)
    return aliases.get(model)
