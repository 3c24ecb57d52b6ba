"""The API keys in force: those of the settings, or those of a file that is read again when it changes."""

import hmac
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from serving.api.key_file import ApiKey, KeyFileInvalid, read_key_file
from serving.config import SettingsInvalid, variable
from serving.log import LOG

# Seconds between two checks whether the file has changed.
CHECK_SECONDS = 1.0


class KeyStore:
    """Finds keys by digest. With a `file`, the digests of the settings are ignored."""

    def __init__(
        self, digests: tuple[str, ...], file: Path | None = None, seconds: float = CHECK_SECONDS
    ) -> None:
        """Reads the file, if there is one; it is checked for changes every `seconds`.

        Raises `SettingsInvalid`.
        """
        self._keys = tuple(map(ApiKey.unnamed, digests))
        self._file, self._seconds = file, seconds
        self._lock, self._next_check = threading.Lock(), 0.0
        self._loaded_state: tuple[int, ...] | None = None
        # Read in the worker, not taken from the master: when a worker is restarted the file may have changed,
        # and a key that was removed from it must not become valid again.
        if file and (reason := self._load(file)):
            raise SettingsInvalid([f"{variable('api_keys_file')} cannot be used: {reason}"])

    def find(self, digest: str) -> ApiKey | None:
        """The key with this digest."""
        self._reload_if_changed()
        # Compares all keys in constant time, so that the response time does not reveal which one matched.
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def is_expired(self, key: ApiKey) -> bool:
        """Has the key's expiry passed?"""
        return key.expires is not None and key.expires <= datetime.now(UTC)

    def _reload_if_changed(self) -> None:
        """Reads the file again if it has changed. If it is invalid or missing, the previous keys stay."""
        if not self._file or time.monotonic() < self._next_check or not self._lock.acquire(blocking=False):
            return
        try:
            before = self._loaded_state
            reason = self._load(self._file) if _file_state(self._file) != before else None
            self._next_check = time.monotonic() + self._seconds
        finally:
            self._lock.release()
        if reason:
            LOG.error("keys refused", extra={"fields": {"code": "keys_invalid", "reason": reason}})
        elif self._loaded_state != before:
            LOG.info("keys read", extra={"fields": {"keys": len(self._keys)}})

    def _load(self, file: Path) -> str | None:
        """Replaces the keys by those of the file; returns the reason if it cannot be used."""
        # Taken before reading: a write during the read is then noticed at the next check.
        self._loaded_state = _file_state(file)
        try:
            self._keys = read_key_file(file)
        except (OSError, KeyFileInvalid) as error:
            return getattr(error, "strerror", None) or str(error)
        return None


def _file_state(file: Path) -> tuple[int, ...] | None:
    """Values of which one changes when the file, or the target of a symbolic link, is written or replaced.

    None if it does not exist.
    """
    try:
        found = os.stat(file)  # noqa: PTH116  (a string path would be wrapped in a Path on each request)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
