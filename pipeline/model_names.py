"""Which names a model may have, and the nearest allowed name for any other text."""

import re
import unicodedata

# The name becomes a folder, a DVC stage and an MLflow model; MLflow rejects some characters beyond these.
PATTERN = r"[a-z][a-z0-9_-]{0,62}"
# Words that YAML 1.1 or 1.2 reads as a boolean or null, and the key `models` of params.yaml.
RESERVED = frozenset({"models", "true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def is_model_name(text: str) -> bool:
    """Is the text allowed as a model's name?"""
    return re.fullmatch(PATTERN, text) is not None and text not in RESERVED


def suggest_model_name(text: str) -> str:
    """The nearest allowed name: `My Pets` becomes `my-pets`, `1pets` becomes `model-1pets`.

    Of a path, as shell completion gives it, only the last part is used.
    """
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    letters = unicodedata.normalize("NFKD", last.casefold()).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-z0-9_]+", "-", letters).strip("-_")[:57].rstrip("-_")
    return plain if is_model_name(plain) else f"model-{plain}".rstrip("-")
