"""Publishes an image that `make smoke` has tested: `python -m deploy.push IMAGE PIN REPOSITORY`.

The image must contain the pinned model and be built from the HEAD commit. It is pushed under two tags, for
code and model: `sha-<commit>` and `<model>-v<version>-<first 8 digits of the digest>`. Pushing again moves
the tags; the image's digest identifies it permanently.
Prints `name=` and `digest=`, which the steps that pull, sign and attest the image need.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.smoke import SmokeFailed, check_label, docker, image_label
from serving.artifact.pin import Pin
from serving.errors import ServingError

# The OCI label with the commit of the code.
REVISION = "org.opencontainers.image.revision"


class PushRefused(Exception):
    """The image does not match pin and commit, or the registry stored another image."""


def image_tags(commit: str, pin: Pin) -> list[str]:
    return [f"sha-{commit}", f"{pin.name}-v{pin.version}-{pin.digest[:8]}"]


def head_commit(path: Path) -> str:
    """The hash of HEAD; `PushRefused` if the pin has uncommitted changes."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(path)], check=False).returncode:
        raise PushRefused(f"{path} is not as committed; only a committed pin can be published.")
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def push(image: str, path: Path, repository: str) -> str:
    """Pushes an image under its tags; returns its digest, `sha256:...`."""
    pin = Pin.read(path)
    commit = head_commit(path)
    check_label(image, pin)
    if (built := image_label(image, REVISION)) != commit:
        raise PushRefused(
            f"{image} was built of {built or 'code that is not committed'}, and this is {commit}."
        )
    digests = {_push_tag(image, f"{repository}:{tag}") for tag in image_tags(commit, pin)}
    if len(digests) != 1:
        raise PushRefused(f"{repository} has several digests for one image: {', '.join(sorted(digests))}")
    (digest,) = digests
    _check_published(image, f"{repository}@{digest}")
    return digest


def _push_tag(image: str, name: str) -> str:
    """Pushes an image as `name`; returns the digest that the registry reports."""
    docker("tag", image, name)
    try:
        output = docker("push", name)
    finally:
        docker("image", "rm", name)
    print(output, file=sys.stderr)
    match = re.search(r"digest: (sha256:[0-9a-f]{64})", output)
    if match is None:
        raise PushRefused(f"the registry named no digest for {name}: {output[-500:]}")
    return match[1]


def _check_published(image: str, name: str) -> None:
    """Pulls the image by digest and checks that it is the tested one."""
    docker("pull", "--quiet", name)
    try:
        pushed, published = _image_id(image), _image_id(name)
    finally:
        docker("image", "rm", name)
    if pushed != published:
        raise PushRefused(f"{name} is {published}, but {pushed} was pushed.")


def _image_id(image: str) -> str:
    (document,) = json.loads(docker("image", "inspect", image))
    return str(document["Id"])


if __name__ == "__main__":
    try:
        name = sys.argv[3]
        print(f"digest={push(sys.argv[1], Path(sys.argv[2]), name)}")
        print(f"name={name}")
    except (PushRefused, SmokeFailed, ServingError) as error:
        sys.exit(str(error))
