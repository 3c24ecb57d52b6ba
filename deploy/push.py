"""Publishes an image that `make smoke` has tried: `python -m deploy.push IMAGE PIN REPOSITORY`.

It must hold what is pinned, and be built of what is committed. Its names say which code and which model it
is: `sha-<commit>` and `<model>-v<version>-<digest's first 8>`. Either follows what was published last; the
digest never moves.
Prints `name=` and `digest=`, by which the image can be pulled, signed and attested.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.smoke import SmokeFailed, check_label, docker, label
from serving.artifact.pin import Pin
from serving.errors import ServingError

# Where an image names the commit of its code (OCI's annotation).
REVISION = "org.opencontainers.image.revision"


class PushRefused(Exception):
    """What is to be published is not what is pinned and committed, or the registry has something else."""


def names(commit: str, pin: Pin) -> list[str]:
    """The tags of an image."""
    return [f"sha-{commit}", f"{pin.name}-v{pin.version}-{pin.digest[:8]}"]


def committed(path: Path) -> str:
    """The commit of the workspace; `PushRefused` if the pin is not as it is in there."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(path)], check=False).returncode:
        raise PushRefused(f"{path} is not as committed; what is published must be what git says.")
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def push(image: str, path: Path, repository: str) -> str:
    """Pushes an image under its names; gives its digest, `sha256:...`."""
    pin = Pin.read(path)
    commit = committed(path)
    check_label(image, pin)
    if (built := label(image, REVISION)) != commit:
        raise PushRefused(
            f"{image} was built of {built or 'code that is not committed'}, and this is {commit}."
        )
    digests = {_push_as(image, f"{repository}:{tag}") for tag in names(commit, pin)}
    if len(digests) != 1:
        raise PushRefused(f"{repository} took one image for several: {', '.join(sorted(digests))}")
    (digest,) = digests
    _check(image, f"{repository}@{digest}")
    return digest


def _push_as(image: str, name: str) -> str:
    docker("tag", image, name)
    try:
        said = docker("push", name)
    finally:
        docker("image", "rm", name)
    print(said, file=sys.stderr)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    if found is None:
        raise PushRefused(f"the registry named no digest for {name}: {said[-500:]}")
    return found[1]


def _check(image: str, name: str) -> None:
    """What the registry gives out under the digest must be the image that was tried."""
    docker("pull", "--quiet", name)
    try:
        ours, theirs = (_id(each) for each in (image, name))
    finally:
        docker("image", "rm", name)
    if ours != theirs:
        raise PushRefused(f"{name} is {theirs}, but {ours} was pushed.")


def _id(image: str) -> str:
    (found,) = json.loads(docker("image", "inspect", image))
    return str(found["Id"])


if __name__ == "__main__":
    try:
        name = sys.argv[3]
        print(f"digest={push(sys.argv[1], Path(sys.argv[2]), name)}")
        print(f"name={name}")
    except (PushRefused, SmokeFailed, ServingError) as error:
        sys.exit(str(error))
