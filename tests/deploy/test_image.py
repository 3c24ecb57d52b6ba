"""The image: built only from the pinned bytes, hardened, and small."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.image import THEIRS, build_tutorial, measure, table
from deploy.smoke import HARDENED, container_address, request_json, running_container, wait_until_ready
from serving.artifact.pin import Pin
from tests.deploy.conftest import IMAGE, SHOWN, make
from tests.deploy.engine import docker
from tests.imagenet import GOLDFISH, LAYOUT, needs_photos, needs_weights
from tests.pipeline.projects import Project
from tests.serving.registries import flipped_byte, mlflow_server, register_bundle
from tests.serving.servers import free_port
from tests.serving.signatures import make_key, sign_folder

PIN = Path("pins/colours.json")
LABELS = "models/colours/bundle/serving/labels.json"
# Slow: each of these tests builds another image, 5 to 60 s.
slow = pytest.mark.slow


def inside(image: str, code: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs Python in a container of the image."""
    arguments = ("run", "--rm", *HARDENED, *options, "--entrypoint", "python3", image, "-c", code)
    return docker(*arguments, check=False)


def test_it_holds_what_it_must(image: str, clone: Project, base: str) -> None:
    done = make(clone, base, "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("ready after", "in label, /version and pin", "3 golden images", "ended with 0"):
        assert words in done.stdout


def test_it_holds_the_serving_files_and_nothing_else(image: str) -> None:
    code = "import pathlib; print(*(p for p in pathlib.Path('/srv').rglob('*') if p.is_file()), sep='\\n')"
    found = {Path(line).relative_to("/srv").as_posix() for line in inside(image, code).stdout.splitlines()}
    bundle = "models/colours/bundle"
    assert found == {
        "pins/colours.json",
        f"{bundle}/manifest.json",
        *(f"{bundle}/serving/{name}" for name in ("model.onnx", "labels.json", "preprocessing.json")),
        *(f"{bundle}/serving/{name}" for name in ("confidence.json", "explanation.onnx", "head.npy")),
        *(f"{bundle}/serving/golden/{name}" for name in ("golden.json", "0.png", "1.png", "2.png")),
    }


def test_packages_of_the_pipeline_are_not_installed(image: str) -> None:
    packages = ("mlflow", "dvc", "tensorflow", "keras", "onnx", "pip", "pipeline", "tests")
    code = f"import importlib.util as u; print([name for name in {packages} if u.find_spec(name)])"
    assert inside(image, code).stdout == "[]\n"


def test_nobody_can_write_anywhere(image: str) -> None:
    folders = ("/", "/srv", "/opt/goldfish", "/etc")
    code = f"import os; print(os.getuid(), [os.access(path, os.W_OK) for path in {folders}])"
    assert inside(image, code).stdout.strip() == "65532 [False, False, False, False]"


def test_sagemakers_way_to_start_it(image: str) -> None:
    container = docker("run", "--detach", *HARDENED, image, "serve").stdout.strip()
    try:
        done = docker("exec", container, "python3", "-c", WAIT, check=False)
        assert done.returncode == 0, docker("logs", container).stdout
    finally:
        docker("rm", "--force", container)


WAIT = """
import subprocess, sys, time
for _ in range(1000):
    if subprocess.run([sys.executable, "-m", "serving.health"]).returncode == 0:
        break
    time.sleep(0.05)
else:
    sys.exit(1)
"""


def test_other_arguments_are_refused(image: str) -> None:
    done = docker("run", "--rm", *HARDENED, image, "train", check=False)
    assert done.returncode == 2
    assert done.stderr == "'train' is not known: `serve` is, or nothing.\n"


def test_a_flipped_byte_is_refused_at_the_start(image: str, clone: Project) -> None:
    file = clone.root / LABELS
    with flipped_byte(file):
        done = docker("run", "--rm", *HARDENED, "--volume", f"{file}:/srv/{LABELS}:ro", image, check=False)
    assert done.returncode == 1
    assert "labels.json was changed after its release" in done.stderr


def test_a_flipped_byte_fails_the_build(spoiled: Project, base: str) -> None:
    with flipped_byte(spoiled.root / LABELS):
        done = make(spoiled, base, IMAGE="goldfish-test-never")
    assert done.returncode != 0
    assert "labels.json was changed after its release" in done.stdout + done.stderr


@slow
def test_another_bundle_than_the_pinned_one_fails_the_build(spoiled: Project, base: str) -> None:
    pin = Pin.read(spoiled.root / PIN)
    (spoiled.root / PIN).write_bytes(Pin(pin.name, pin.version, "0" * 64).to_bytes())
    done = make(spoiled, base, IMAGE="goldfish-test-never")
    assert done.returncode != 0
    assert "is not what /context/colours.json names, and pulling it failed" in done.stdout + done.stderr


@slow
def test_with_trusted_keys_only_a_signed_bundle_is_built_and_started(
    spoiled: Project, base: str, tmp_path: Path
) -> None:
    name, own, other = f"{IMAGE}-signed", make_key(tmp_path), make_key(tmp_path, "secp384r1")

    def refused(keys: Path) -> str:
        done = make(spoiled, base, IMAGE="goldfish-test-never", TRUSTED_KEYS=str(keys))
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "nowhere is no file of public keys" in refused(tmp_path / "nowhere")
    assert "colours.sig is not there" in refused(own.public)
    data = sign_folder(spoiled.root / "models/colours/bundle", own)
    (spoiled.root / "pins/colours.sig").write_bytes(data)
    assert "was made by none of the trusted keys" in refused(other.public)
    built = make(spoiled, base, IMAGE=name, TRUSTED_KEYS=f"{other.public},{own.public}", HEIC="yes")
    assert built.returncode == 0, built.stdout + built.stderr
    code = "import sys, pillow_heif; from serving.__main__ import main; sys.exit(main([]))"
    try:
        for key, words in ((own, "Cannot listen"), (other, "was made by none of the trusted keys")):
            volume = ("--volume", f"{key.public}:/keys/key.pub:ro")
            setting = ("--env", "GOLDFISH_TRUSTED_KEYS=/keys/key.pub", "--env", "GOLDFISH_HOST=192.0.2.1")
            done = inside(name, code, *volume, *setting)
            assert done.returncode == 1
            # The address is checked last, and is none of the container's.
            assert words in done.stderr
    finally:
        docker("image", "rm", "--force", name)


@slow
def test_labels_that_lie_fail_the_build(spoiled: Project, base: str) -> None:
    options = "--network host --build-arg VERSION=9"
    done = make(spoiled, base, IMAGE="goldfish-test-never", LABELS=options)
    assert done.returncode != 0
    assert "The labels say colours 9" in done.stdout + done.stderr


@slow
def test_secrets_of_the_build_are_in_no_layer(spoiled: Project, base: str, tmp_path: Path) -> None:
    secret = "a-secret-of-the-build"  # noqa: S105
    (tmp_path / "token").write_text(secret)
    option = f"--secret id=MLFLOW_TRACKING_TOKEN,src={tmp_path / 'token'}"
    name = f"{IMAGE}-secret"
    built = make(spoiled, base, IMAGE=name, BUILD_OPTIONS=f"--no-cache --network host {option}")
    assert built.returncode == 0, built.stdout + built.stderr
    docker("save", "--output", str(tmp_path / "image.tar"), name)
    docker("image", "rm", "--force", name)
    for hidden in (secret, "PASSWORD=secret", "only the pipeline needs it"):
        found = subprocess.run(["grep", "-c", hidden, str(tmp_path / "image.tar")], check=False)
        assert found.returncode == 1, hidden


@slow
def test_the_address_of_the_registry_is_kept_nowhere(base: str, spoiled: Project, tmp_path: Path) -> None:
    """It may hold a password. Docker's output counts too, because BuildKit prints the arguments of a step."""
    secret, name = "a-secret-of-the-address", f"{IMAGE}-address"
    with mlflow_server(tmp_path) as server:
        release = register_bundle(server, tmp_path, "colours", steepness=6.0)
        (spoiled.root / PIN).write_bytes(release.pin.to_bytes())
        address = server.replace("//", f"//user:{secret}@")
        built = make(spoiled, base, IMAGE=name, MLFLOW_TRACKING_URI=address)
    assert built.returncode == 0, built.stdout + built.stderr
    docker("save", "--output", str(tmp_path / "image.tar"), name)
    kept = docker("history", "--no-trunc", name).stdout + docker("inspect", name).stdout
    docker("image", "rm", "--force", name)
    assert secret not in built.stdout + built.stderr + kept
    assert subprocess.run(["grep", "-c", secret, str(tmp_path / "image.tar")], check=False).returncode == 1


def test_labels_say_who_is_in_it(image: str, clone: Project) -> None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image).stdout)
    pin = Pin.read(clone.root / PIN)
    assert labels["model.digest"] == pin.digest
    assert labels["org.opencontainers.image.revision"] == clone.succeed("git", "rev-parse", "HEAD").strip()


@slow
def test_without_a_model_it_pulls_the_pinned_one_at_the_start(
    base: str, spoiled: Project, tmp_path: Path
) -> None:
    name = f"{IMAGE}-unbaked"
    with mlflow_server(tmp_path) as server:
        release = register_bundle(server, tmp_path, "colours", steepness=6.0)
        (spoiled.root / PIN).write_bytes(release.pin.to_bytes())
        built = make(spoiled, base, IMAGE=name, BUILD_OPTIONS="--network host --target unbaked")
        assert built.returncode == 0, built.stdout + built.stderr
        options = (
            "--network",
            "host",
            "--env",
            f"MLFLOW_TRACKING_URI={server}",
            "--env",
            f"PORT={free_port()}",
        )
        container = docker("run", "--detach", *HARDENED, *options, name).stdout.strip()
        try:
            done = docker("exec", container, "python3", "-c", WAIT, check=False)
            assert done.returncode == 0, docker("logs", container).stdout
            assert release.pin.digest in docker("logs", container).stdout
        finally:
            docker("rm", "--force", container)


@slow
def test_the_registry_alone_is_enough_and_a_poisoned_one_fails(
    base: str, spoiled: Project, tmp_path: Path
) -> None:
    with mlflow_server(tmp_path) as server:
        release = register_bundle(server, tmp_path, "colours", steepness=6.0)
        (spoiled.root / PIN).write_bytes(release.pin.to_bytes())
        pulled = make(spoiled, base, IMAGE=f"{IMAGE}-pulled", MLFLOW_TRACKING_URI=server)
        assert pulled.returncode == 0, pulled.stdout + pulled.stderr
        smoked = make(spoiled, base, "smoke", IMAGE=f"{IMAGE}-pulled")
        assert f"digest {release.pin.digest} in label, /version and pin" in smoked.stdout
        docker("image", "rm", "--force", f"{IMAGE}-pulled")
        with flipped_byte(release.files / "serving/model.onnx"):
            # Another version number, so that BuildKit does not take the step from its cache.
            (spoiled.root / PIN).write_bytes(Pin("colours", 2, release.pin.digest).to_bytes())
            poisoned = make(spoiled, base, IMAGE="goldfish-test-never", MLFLOW_TRACKING_URI=server)
        assert poisoned.returncode != 0
        assert "model.onnx" in poisoned.stdout + poisoned.stderr


@slow
def test_it_is_a_fifth_of_what_a_tutorial_builds(image: str, base: str, pytestconfig: pytest.Config) -> None:
    figures = measure(base, image, build_tutorial(base))
    docker("image", "rm", "--force", THEIRS)
    pytestconfig.stash[SHOWN] = table(figures)
    assert 5 * figures["ours_mb"] <= figures["tutorial_mb"]


@slow
@needs_weights
@needs_photos
def test_it_knows_a_goldfish(base: str, imagenet: Project) -> None:
    name = "goldfish-test-imagenet"
    built = make(imagenet, base, MODEL="imagenet", IMAGE=name)
    assert built.returncode == 0, built.stdout + built.stderr
    smoked = make(imagenet, base, "smoke", MODEL="imagenet", IMAGE=name)
    assert smoked.returncode == 0, smoked.stdout + smoked.stderr
    with running_container(name) as container:
        host = container_address(container)
        wait_until_ready(container, host)
        photo = (imagenet.root / LAYOUT.test / GOLDFISH).read_bytes()
        answer = request_json(host, "/inference", photo)
    assert next(iter(answer)) == "goldfish"
    docker("image", "rm", "--force", name)
