"""Pulls the pinned version from the MLflow registry: `python -m serving.pull [MODEL] [--to DIR] [--whole]`.

Reads `pins/<model>.json` and the registry. Writes `models/<model>/pulled/<digest>/`, complete or not at all,
and only bytes that match the pinned digest.
"""

import argparse
import sys
from pathlib import Path

from serving.artifact.download import default_destination, pull_bundle
from serving.artifact.pin import Pin
from serving.config import Settings
from serving.errors import ServingError


def main(arguments: list[str] | None = None) -> int:
    """Prints the bundle's path, or an error on stderr. Returns the exit code."""
    try:
        settings = Settings.read()
        options = _parser(settings).parse_args(arguments)
        pin = Pin.read(options.pins / f"{options.model}.json")
        to = options.to or default_destination(settings.models_folder, pin)
        print(pull_bundle(pin, options.registry, to, options.whole, settings.credentials, sys.stderr))
    except (ServingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was there before is still whole", file=sys.stderr)
        return 130
    return 0


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.pull", description="Pulls the pinned version.")
    parser.add_argument("model", nargs="?", default=settings.model, help="default: %(default)s")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: models/<model>/pulled/<digest>")
    parser.add_argument("--whole", action="store_true", help="also what only the pipeline needs")
    parser.add_argument(
        "--pins", type=Path, default=settings.pins, metavar="DIR", help="default: %(default)s"
    )
    # The default is not shown because it may contain a password.
    parser.add_argument(
        "--registry", default=settings.registry, metavar="URI", help="sqlite:///path or http(s)://..."
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
