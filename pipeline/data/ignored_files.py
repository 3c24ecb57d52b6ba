"""Files that systems and programs put beside photos and that are never meant as photos: ignored and counted.

Sources: Windows (thumbnails, folder settings), macOS (Finder, archives, edits), Synology and QNAP (recycle
bins, thumbnails), Google Takeout (a JSON file for each photo), Picasa, Lightroom and darktable, Office (lock
files), iCloud (placeholders).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

# Lower-case name: the reason as it is shown to the user.
IGNORED_FOLDERS = {
    "__macosx": "__MACOSX",
    "@eadir": "@eaDir",
    ".trashes": ".Trashes",
    "#recycle": "#recycle",
    "@recycle": "@Recycle",
    "#snapshot": "#snapshot",
    "$recycle.bin": "$RECYCLE.BIN",
    "system volume information": "System Volume Information",
    "lost+found": "lost+found",
    "lost.dir": "LOST.DIR",
}
IGNORED_FILES = {
    ".ds_store": ".DS_Store",
    ".picasa.ini": ".picasa.ini",
    "picasa.ini": "Picasa.ini",
    "thumbs.db": "Thumbs.db",
    "ehthumbs.db": "ehthumbs.db",
    "ehthumbs_vista.db": "ehthumbs_vista.db",
    "desktop.ini": "desktop.ini",
    "zbthumbnail.info": "ZbThumbnail.info",
    "icon\r": "Icon",
}
IGNORED_PREFIXES = {"._": "._ of macOS", "~$": "~$ of Office"}
IGNORED_SUFFIXES = {".aae": ".AAE", ".xmp": ".xmp", ".icloud": ".icloud"}
HIDDEN, EMPTY, TAKEOUT, LIVE_PHOTO = "hidden", "empty", "JSON of Takeout", "films of Live Photos"

# A file with such a suffix counts as a photo even if it is empty.
PHOTO_SUFFIX = r"\.(jpe?g|jpe|jfif|mpo|png|webp|gif|bmp|dib|heic|heif|avif|tiff?|dng)"
# Takeout names the JSON file after the photo, truncates long names, and adds numbers in several places.
TAKEOUT_PHOTO_JSON = re.compile(PHOTO_SUFFIX + r"\b.*\.json", re.IGNORECASE)
TAKEOUT_ALBUM_JSON = re.compile(
    r"(metadata|print-subscriptions|shared_album_comments|user-generated-memory-titles)(\(\d+\))?\.json",
    re.IGNORECASE,
)
# Keys in Takeout's JSON. They identify it where its file name is in the user's language.
TAKEOUT_KEYS = {"title", "photoTakenTime", "creationTime", "geoData", "googlePhotosOrigin"}
MAX_JSON_BYTES = 2**18


def ignore_reason(parts: Sequence[str], path: Path | None = None) -> str | None:
    """Why the file with these path parts is ignored; `None` if it may be a photo.

    With `path`, its size and the content of JSON files are checked too.
    """
    *folders, name = parts
    folder_reasons = (folder_ignore_reason(folder) for folder in folders)
    reason = (
        next((reason for reason in folder_reasons if reason is not None), None)
        or IGNORED_FILES.get(name.lower())
        or _reason_by_affix(name.lower())
        or (HIDDEN if name[:1] == "." else None)
    )
    return reason if reason is not None or path is None else _reason_by_content(path)


def folder_ignore_reason(name: str) -> str | None:
    """Why a folder is ignored; `None` if it may be a class."""
    return IGNORED_FOLDERS.get(name.lower(), HIDDEN if name.startswith(".") else None)


def ignored_summary(counts: Mapping[str, int], limit: int = 6) -> str:
    """One line about the ignored files, the most frequent reasons first; empty if there are none."""
    ordered = Counter(counts).most_common()
    shown = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:limit])
    rest = sum(count for _, count in ordered[limit:])
    return (
        f"passed over, for they are no photos: {shown}{f', {rest:,} others' if rest else ''}" if shown else ""
    )


def _reason_by_affix(name: str) -> str | None:
    prefixes = (reason for prefix, reason in IGNORED_PREFIXES.items() if name.startswith(prefix))
    suffixes = (reason for suffix, reason in IGNORED_SUFFIXES.items() if name.endswith(suffix))
    return next(chain(prefixes, suffixes), None)


def _reason_by_content(path: Path) -> str | None:
    if TAKEOUT_PHOTO_JSON.search(path.name) or TAKEOUT_ALBUM_JSON.fullmatch(path.name):
        return TAKEOUT
    if _is_live_photo_video(path):
        return LIVE_PHOTO
    with suppress(OSError):
        size = path.stat().st_size
        if size == 0 and path.is_file() and not re.search(f"{PHOTO_SUFFIX}$", path.name, re.IGNORECASE):
            return EMPTY
        if (
            path.suffix.lower() == ".json"
            and size <= MAX_JSON_BYTES
            and path.is_file()
            and _is_takeout_json(path)
        ):
            return TAKEOUT
    return None


def _is_live_photo_video(path: Path) -> bool:
    """Is it the short video that a phone stores with a photo, under the same name?"""
    return path.suffix.lower() in (".mov", ".mp4") and any(
        path.with_suffix(suffix).exists()
        for photo in (".heic", ".jpg", ".jpeg")
        for suffix in (photo, photo.upper())
    )


def _is_takeout_json(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and len(TAKEOUT_KEYS & document.keys()) > 1
