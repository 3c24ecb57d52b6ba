"""What systems and programs put beside photos, which nobody means as one: it is passed over, and counted.

Sources: Windows (thumbnails, folder settings), macOS (Finder, archives, edits), Synology and QNAP (bins,
thumbnails), Google Takeout (a JSON file beside each photo), Picasa, Lightroom and darktable, Office (locks),
iCloud (placeholders).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Names in small letters, and how they are told.
FOLDERS = {
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
FILES = {
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
PREFIXES = {"._": "._ of macOS", "~$": "~$ of Office"}
SUFFIXES = {".aae": ".AAE", ".xmp": ".xmp", ".icloud": ".icloud"}
HIDDEN, EMPTY, TAKEOUT, LIVE = "hidden", "empty", "JSON of Takeout", "films of Live Photos"

# A file with such a name is meant as a photo, also if it has no bytes.
PHOTO = r"\.(jpe?g|jpe|jfif|mpo|png|webp|gif|bmp|dib|heic|heif|avif|tiff?|dng)"
# Takeout calls it after the photo, cuts long names, and puts numbers in several places.
BESIDE = re.compile(PHOTO + r"\b.*\.json", re.IGNORECASE)
ALBUM = re.compile(
    r"(metadata|print-subscriptions|shared_album_comments|user-generated-memory-titles)(\(\d+\))?\.json",
    re.IGNORECASE,
)
# What it says of a photo or an album, in files whose names are in the user's language.
SAYS = {"title", "photoTakenTime", "creationTime", "geoData", "googlePhotosOrigin"}
JSON_BYTES = 2**18


def kind(parts: Sequence[str], path: Path | None = None) -> str | None:
    """How the file with these names of folders and of its own is told; None if it may be a photo.

    With `path`, its size and, of JSON, its contents are looked at too.
    """
    *folders, name = parts
    found = next((found for folder in folders if (found := of_folder(folder)) is not None), None)
    named = found or FILES.get(name.lower()) or _affix(name.lower()) or (HIDDEN if name[:1] == "." else None)
    return named if named is not None or path is None else _looked_at(path)


def of_folder(name: str) -> str | None:
    """The same of a folder, which may be a class."""
    return FOLDERS.get(name.lower(), HIDDEN if name.startswith(".") else None)


def told(counts: Mapping[str, int], most: int = 6) -> str:
    """What was passed over, the most frequent kinds first; empty if nothing was."""
    ordered = Counter(counts).most_common()
    shown = ", ".join(f"{count:,} {name}" for name, count in ordered[:most])
    rest = sum(count for _, count in ordered[most:])
    return (
        f"passed over, for they are no photos: {shown}{f', {rest:,} others' if rest else ''}" if shown else ""
    )


def _affix(name: str) -> str | None:
    found = [told for begin, told in PREFIXES.items() if name.startswith(begin)]
    return found[0] if found else next((told for end, told in SUFFIXES.items() if name.endswith(end)), None)


def _looked_at(path: Path) -> str | None:
    if BESIDE.search(path.name) or ALBUM.fullmatch(path.name):
        return TAKEOUT
    if _of_live_photo(path):
        return LIVE
    with suppress(OSError):
        size = path.stat().st_size
        if size == 0 and path.is_file() and not re.search(f"{PHOTO}$", path.name, re.IGNORECASE):
            return EMPTY
        if path.suffix.lower() == ".json" and size <= JSON_BYTES and path.is_file() and _of_takeout(path):
            return TAKEOUT
    return None


def _of_live_photo(path: Path) -> bool:
    """Phones put a second of film beside a photo, of the same name."""
    return path.suffix.lower() in (".mov", ".mp4") and any(
        path.with_suffix(suffix).exists()
        for photo in (".heic", ".jpg", ".jpeg")
        for suffix in (photo, photo.upper())
    )


def _of_takeout(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and len(SAYS & document.keys()) > 1
