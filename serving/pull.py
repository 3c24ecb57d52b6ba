"""Pulls the pinned version from the MLflow registry: `python -m serving.pull [MODEL] [--to DIR] [--whole]`.

Reads `pins/<model>.json` and the registry. Writes `models/<model>/pulled/<digest>/`, complete or not at all,
and only bytes that match the pinned digest, which a trusted key must have signed if the settings name one.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from serving.artifact.download import default_destination, pull_bundle
from serving.artifact.pin import Pin
from serving.artifact.signature_check import check_signature
from serving.config import Settings
from serving.errors import ServingError


def main(arguments: list[str] | None = None) -> int:
    """Prints the bundle's path, or an error on stderr. Returns the exit code."""
    try:
        settings = Settings.read()
        options = _parser(settings).parse_args(arguments)
        pin = Pin.read(options.pins / f"{options.model}.json")
        to = options.to or default_destination(settings.models_folder, pin)
        settings = replace(settings, pins=options.pins, registry=options.registry)
        accept = partial(check_signature, settings, name=pin.name)
        print(
            pull_bundle(pin, settings.registry, to, options.whole, settings.credentials, sys.stderr, accept)
        )
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
