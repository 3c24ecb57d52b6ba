"""Build arguments stay in the build cache and in the image's history: no secret is one."""

import os
import re
import subprocess

import pytest

from tests.repo.imports import ROOT

SECRETS = [f"MLFLOW_TRACKING_{name}" for name in ("URI", "USERNAME", "PASSWORD", "TOKEN")]


def command(*assignments: str, **variables: str) -> str:
    """What `make image` would run."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "image", *assignments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in SECRETS} | variables,
        check=True,
        timeout=60,
    )
    return done.stdout.replace("\\\n", " ")


@pytest.mark.parametrize("name", SECRETS)
def test_what_tells_of_the_registry_is_a_secret_of_the_build(name: str) -> None:
    run = command(**{name: "https://user:$(s3cret)@mlflow.example"})
    assert f"--secret 'id={name},env={name}'" in run
    assert "s3cret" not in run
    assert not re.search(r"build-arg MLFLOW", run)
    assert f"--mount=type=secret,id={name} " in (ROOT / "Dockerfile").read_text()


def test_what_is_not_set_is_no_secret() -> None:
    assert "--secret" not in command()


def test_public_keys_are_arguments_and_bring_what_verifies_signatures() -> None:
    assert 'LOCKS="serving"' in command()
    assert 'LOCKS="serving otel"' in command("OTEL=yes")
    run = command("TRUSTED_KEYS=a.pub,b.pub", "HEIC=yes", "OTEL=yes")
    assert 'LOCKS="serving heic otel follow"' in run
    assert '--build-arg TRUSTED_KEYS="$(cat a.pub b.pub)"' in run


def test_no_argument_of_the_build_is_a_secret() -> None:
    arguments = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert arguments
    assert not set(arguments) & set(SECRETS)
