"""The registry and its database: access control, and secrets that must not show."""

import json

import psutil
import psycopg
import pytest

from tests.deploy.composition.client import request
from tests.deploy.composition.pins import MODEL
from tests.deploy.composition.processes import PASSWORD, Composition


def test_mlflow_answers_to_its_names_alone(stack: Composition) -> None:
    url = stack.registry + "/api/2.0/mlflow/registered-models/search"
    assert request(url).ok
    stranger = request(url, Host="registry.example.org")
    assert (stranger.status_code, "Invalid Host header" in stranger.text) == (403, True)


@pytest.mark.parametrize(
    "source", ["file:///etc", "/etc", "s3://somebodys/bucket", "mlflow-artifacts:/1", "models:/digits/1"]
)
def test_mlflow_takes_no_files_from_elsewhere(stack: Composition, source: str) -> None:
    url = stack.registry + "/api/2.0/mlflow/model-versions/create"
    body = json.dumps({"name": MODEL, "source": source}).encode()
    refused = request(url, body, Content_Type="application/json")
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid model version source" in refused.json()["message"]


@pytest.mark.parametrize(
    ("user", "password"), [("mlflow", "wrong"), ("postgres", PASSWORD)], ids=["wrong password", "superuser"]
)
def test_the_database_lets_nobody_else_in(stack: Composition, user: str, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(stack.database(user, password))


def test_mlflow_is_no_superuser(stack: Composition) -> None:
    with psycopg.connect(stack.database("mlflow", PASSWORD)) as connection:
        query = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(query).fetchone() == (False, False, False)


def test_the_password_is_seen_nowhere(stack: Composition) -> None:
    seen = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any("--backend-store-uri=postgresql+psycopg://mlflow@" in line for line in seen)
    assert not any(PASSWORD in line for line in seen)
    first = psutil.Process(stack.processes["mlflow"].pid)
    for process in [first, *first.children(recursive=True)]:
        assert PASSWORD not in process.environ().values()
    assert all(PASSWORD not in stack.log(name) for name in stack.services)
    passfile = stack.service_folder("mlflow") / "tmp/pgpass"
    assert PASSWORD in passfile.read_text()
    assert passfile.stat().st_mode & 0o777 == 0o600
