"""Renders the manifests for Kubernetes, and writes the image that they deploy.

`python -m deploy.manifests render OVERLAY` prints the manifests of an overlay in deploy/kubernetes, complete
and with an image by digest. `python -m deploy.manifests pin REPOSITORY DIGEST` writes that image into
deploy/kubernetes/image, for git: so it holds the image's digest and, in pins/, that of the bundle in it.
"""

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path("deploy/kubernetes")
IMAGE = Path("image/kustomization.yaml")
OVERLAYS = ("plain", "kserve", "knative")
# The name that the manifests have for the image before it is replaced.
PLACEHOLDER = "goldfish"
# As in the committed file, which no repository of images can have.
UNSET = ".invalid/"

# A registry's host, perhaps with a port, and a path in lower case.
REPOSITORY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
IMAGE_LINE = re.compile(r"^\s*(?:- )?image: (\S+)$", re.MULTILINE)

COMPONENT = """\
# The image that all overlays deploy, as `make pin-image` has written it. It must have the bundle that pins/
# names: with another one its pods do not get ready.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
  - name: {placeholder}
    newName: {repository}
    digest: {digest}
"""


class ManifestsRefused(Exception):
    """The manifests cannot be rendered, or would deploy something else than an image by digest."""


def pin_image(repository: str, digest: str, folder: Path = FOLDER) -> Path:
    """Writes the image that the overlays deploy; returns the file."""
    if not REPOSITORY.fullmatch(repository):
        raise ManifestsRefused(f"{repository!r} is no repository: write ghcr.io/owner/name, without a tag.")
    if not DIGEST.fullmatch(digest):
        raise ManifestsRefused(
            f"{digest!r} is no digest: write the one that `make push` prints, sha256: and 64 hexadecimal "
            "digits. A tag can name another image tomorrow."
        )
    text = COMPONENT.format(placeholder=PLACEHOLDER, repository=repository, digest=digest)
    (folder / IMAGE).write_text(text, encoding="utf-8")
    return folder / IMAGE


def render(overlay: str, folder: Path = FOLDER) -> str:
    """The manifests of an overlay as YAML, with an image by digest."""
    if overlay not in OVERLAYS:
        raise ManifestsRefused(f"{overlay!r} is no overlay: {', '.join(OVERLAYS)} are.")
    text = build(folder / overlay)
    images = IMAGE_LINE.findall(text)
    if not images:
        raise ManifestsRefused(f"{folder / overlay} renders no image.")
    for image in images:
        _check_image(image, folder)
    return text


def build(folder: Path) -> str:
    """What kustomize makes of a folder, with the placeholder if no image is set."""
    # The pin is a file outside of the folder, which kustomize reads only where that is allowed.
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ManifestsRefused(
            "kubectl is missing. Install it, or have `make lint` install the development tools, which it is "
            "among."
        ) from None
    if done.returncode:
        raise ManifestsRefused(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _check_image(image: str, folder: Path) -> None:
    name, _, digest = image.partition("@")
    if UNSET in name or name == PLACEHOLDER:
        raise ManifestsRefused(
            f"{folder / IMAGE} names no image yet. `make push` prints the digest of the one that it has "
            "published: make pin-image REPOSITORY=ghcr.io/owner/name DIGEST=sha256:..."
        )
    if not DIGEST.fullmatch(digest):
        raise ManifestsRefused(
            f"{image} is not named by digest, and a tag can name another image tomorrow: use make pin-image."
        )


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    match arguments:
        case ["render", overlay]:
            sys.stdout.write(render(overlay))
        case ["pin", repository, digest]:
            print(f"wrote {pin_image(repository, digest)}; commit it with the pin of the bundle")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ManifestsRefused, OSError) as error:
        sys.exit(str(error))
