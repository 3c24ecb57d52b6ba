"""The MLflow image of the Compose file: built from its lock, run with the privileges of its service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.composition.document import DEPLOY, document
from tests.deploy.engine import docker

# Slow: it installs 1 GB of packages. tests/deploy/composition runs the same entry point without an engine.
pytestmark = pytest.mark.slow

IMAGE = "goldfish-test-mlflow"
SERVICE = document()["services"]["mlflow"]
GRANTED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"),
    *("--tmpfs", SERVICE["tmpfs"][0], "--memory", SERVICE["mem_limit"]),
    *("--pids-limit", str(SERVICE["pids_limit"])),
)


@pytest.fixture(scope="module")
def image(base: str) -> Iterator[str]:
    """The image, built from the folder that the Compose file names."""
    options = ("--network", "host", "--build-arg", f"BASE={base}", "--tag", IMAGE)
    docker("build", *options, str(DEPLOY / SERVICE["build"]["context"]))
    yield IMAGE
    docker("image", "rm", "--force", IMAGE)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with a password and a final newline, as editors write it."""
    file = tmp_path / "db_password"
    file.write_text(r"pass:w\ord" + "\n")
    return file


def inside(image: str, secret: Path, *command: str) -> str:
    """The output of a command that the entry point starts in a container."""
    name = SERVICE["environment"]["DB_PASSWORD_FILE"]
    password = ("--volume", f"{secret}:{name}:ro", "--env", f"DB_PASSWORD_FILE={name}")
    return docker("run", "--rm", *GRANTED, *password, image, *command).stdout.strip()


def test_it_has_the_locked_version(image: str, secret: Path) -> None:
    lock = (DEPLOY / "mlflow/requirements.txt").read_text(encoding="utf-8")
    version = inside(image, secret, "mlflow", "--version").rpartition(" ")[2]
    assert f"\nmlflow=={version} " in lock


def test_it_has_the_driver_for_its_database(image: str, secret: Path) -> None:
    assert inside(image, secret, "python3", "-c", "import psycopg; print(psycopg.pq.__impl__)") == "binary"


def test_nobody_runs_it_and_artifacts_are_nobodys(image: str, secret: Path) -> None:
    code = "import os; print(os.getuid(), os.stat('/var/lib/mlflow').st_uid, os.access('/opt', os.W_OK))"
    assert inside(image, secret, "python3", "-c", code) == "65532 65532 False"


def test_the_password_lies_where_only_the_driver_reads_it(image: str, secret: Path) -> None:
    code = "stat --format='%a %u' $PGPASSFILE; cat $PGPASSFILE"
    assert inside(image, secret, "sh", "-c", code).splitlines() == ["600 65532", r"*:*:*:*:pass\:w\\ord"]
