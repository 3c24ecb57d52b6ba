"""The API keys that are good now: those of the settings, or of a file that is read again when it changes."""

import hmac
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from serving import keys
from serving.config import SettingsInvalid, variable
from serving.keys import Key, KeysInvalid
from serving.log import LOG

# How often a file may be looked at.
SECONDS = 1.0


class KeyRing:
    """Keys, and the file from which they are, if it is one."""

    def __init__(self, digests: tuple[str, ...], file: Path | None = None, seconds: float = SECONDS) -> None:
        """`digests` are those of the settings; a file counts instead, and is looked at every few `seconds`.

        Raises `SettingsInvalid`.
        """
        self._keys = tuple(map(Key.unnamed, digests))
        self._file, self._seconds = file, seconds
        self._lock, self._next = threading.Lock(), 0.0
        self._seen: tuple[int, ...] | None = None
        # A worker that starts later may find another file than the master did, and that one counts: what was
        # taken out of it must not be good again.
        if file and (reason := self._read(file)):
            raise SettingsInvalid([f"{variable('api_keys_file')} cannot be used: {reason}"])

    def find(self, digest: str) -> Key | None:
        """The key with this digest."""
        self._refresh()
        # All of them are compared, so that the time does not tell which one it was.
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def is_over(self, key: Key) -> bool:
        """Has it expired?"""
        return key.expires is not None and key.expires <= datetime.now(UTC)

    def _refresh(self) -> None:
        """Reads the file again if it is another one than before. A broken or missing one changes nothing."""
        if not self._file or time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            before = self._seen
            reason = self._read(self._file) if _state(self._file) != before else None
            self._next = time.monotonic() + self._seconds
        finally:
            self._lock.release()
        if reason:
            LOG.error("keys refused", extra={"fields": {"code": "keys_invalid", "reason": reason}})
        elif self._seen != before:
            LOG.info("keys read", extra={"fields": {"keys": len(self._keys)}})

    def _read(self, file: Path) -> str | None:
        """Takes the keys of the file, or says why not."""
        # Before it is read: what is written meanwhile is seen next time.
        self._seen = _state(file)
        try:
            self._keys = keys.read(file)
        except (OSError, KeysInvalid) as error:
            return getattr(error, "strerror", None) or str(error)
        return None


def _state(file: Path) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced, also behind a symbolic link; None if it is gone."""
    try:
        found = os.stat(file)  # noqa: PTH116  (a Path would be made anew)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
