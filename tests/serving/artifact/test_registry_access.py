"""Addresses of registries: which can be used, and to which hosts credentials are sent."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.errors
import pipeline.params
import pipeline.registry.mlflow_registry
from pipeline.registry.mlflow_files import verify_files
from serving.artifact.bundle import Bundle
from serving.artifact.download import pull_bundle
from serving.artifact.pin import Pin
from serving.artifact.registry.address import Credentials, is_other_host, plaintext_exposure
from serving.artifact.registry.errors import RegistryUnavailable, VersionDamaged
from tests.serving.registries import (
    UNUSED_ADDRESS,
    Intercept,
    RegisteredBundle,
    RelayRequest,
    connect,
    expect_no_leftovers,
    relay,
    write_self_signed_certificate,
)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (UNUSED_ADDRESS, "Connection refused"),
        ("sqlite:////proc/nowhere/mlflow.db", "unable to open"),
        (f"sqlite:///{__file__}", "not a database"),
        ("postgresql://host/mlflow", "write sqlite:///path or"),
        ("databricks", "write sqlite:///path or"),
        ("http://", "write sqlite:///path or"),
        ("http://host:99999", "write sqlite:///path or"),
        ("http://host/?a=b", "write sqlite:///path or"),
        ("http://[::1", "write sqlite:///path or"),
        (f"http://{'x' * 70}.invalid", "label"),
    ],
)
@pytest.mark.usefixtures("short_timeouts")
def test_a_registry_that_cannot_be_used_is_named(to: Path, uri: str, reason: str) -> None:
    with expect_no_leftovers(to), pytest.raises(RegistryUnavailable, match=reason) as raised:
        pull_bundle(Pin("tiny", 1, "0" * 64), uri, to)
    assert uri in str(raised.value)


def test_an_empty_database_is_no_registry(to: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(RegistryUnavailable, match="no such table"):
        pull_bundle(Pin("tiny", 1, "0" * 64), f"sqlite:///{tmp_path}/empty.db", to)


def test_a_database_is_only_read(database: RegisteredBundle, to: Path) -> None:
    path = Path(database.uri.removeprefix("sqlite:///"))
    before = path.stat()
    path.chmod(0o444)
    pull_bundle(database.pin, database.uri, to)
    path.chmod(before.st_mode)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("kind", "location"),
    [
        ("registry_server", "s3://bucket/model"),
        ("database", "s3://bucket/model"),
        ("database", "mlflow-artifacts:/1/model"),
        ("database", "file:///nowhere/at all"),
    ],
)
def test_files_that_are_out_of_reach_are_refused(
    request: pytest.FixtureRequest, to: Path, kind: str, location: str
) -> None:
    uri, digest = request.getfixturevalue(kind).uri, location.encode().hex().ljust(64, "0")[:64]
    connect(uri).client.create_model_version("tiny", location, tags={"digest": digest})
    with (
        expect_no_leftovers(to),
        pytest.raises(RegistryUnavailable, match="mlflow server --serve-art") as raised,
    ):
        pull_bundle(Pin("tiny", 1, digest), uri, to)
    assert location.removeprefix("file://") in str(raised.value)


# A password, and addresses that hold it, well-formed or not.
SECRET = "s3cr/et#x@s3cr"  # noqa: S105
WITH_SECRET = [
    f"http://user:{SECRET}@127.0.0.1:9",
    "http://user:s3cr%2Fet%23x%40s3cr@127.0.0.1:9",
    "http://user:s3cret@127.0.0.1:port",
    "http://s3cret@127.0.0.1:9",
    f"mysql+pymysql://user:{SECRET}@127.0.0.1/mlflow",
]


@pytest.mark.parametrize("uri", WITH_SECRET)
@pytest.mark.usefixtures("short_timeouts")
def test_no_password_of_an_address_is_shown(to: Path, uri: str) -> None:
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1") as raised:
        pull_bundle(Pin("tiny", 1, "0" * 64), uri, to)
    assert "s3cr" not in str(raised.value)


def require_credentials(authorization: str) -> Intercept:
    """A server below a path prefix that requires credentials."""

    def intercept(request: RelayRequest) -> bool:
        request.path = request.path.removeprefix("/prefix")
        if request.headers.get("Authorization") == authorization:
            return False
        request.respond(401, b"Who are\x1b[2J you?")
        return True

    return intercept


BASIC = "Basic " + b64encode(f"user:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "user", "credentials"),
    [
        (BASIC, "user:s3cr%2Fet%23x%40s3cr@", Credentials()),
        (BASIC, "", Credentials("user", SECRET, "unused")),
        ("Bearer abc", "", Credentials("", "", "abc\n")),
        (BASIC, "user:s3cr%2Fet%23x%40s3cr@", Credentials("another", "unused")),
    ],
)
def test_right_credentials_are_accepted(
    registry_server: RegisteredBundle, to: Path, authorization: str, user: str, credentials: Credentials
) -> None:
    with relay(registry_server.uri, require_credentials(authorization)) as front:
        uri = f"{front.uri}/prefix/".replace("//", f"//{user}", 1)
        pull_bundle(registry_server.pin, uri, to, credentials=credentials)
    Bundle.open(to).verify(whole=False)
    assert all(path.startswith("/prefix/api/2.0/mlflow") for path in front.requested_paths)


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (Credentials("user", "s3cret"), "responds with 401: Who are .2J you.; MLFLOW_TRACKING_USERNAME"),
        (Credentials("", "", "s3cret"), "responds with 401"),
        (Credentials("", "", "s3\ncret"), "the token contains characters"),
        (Credentials(), "responds with 401"),
    ],
)
def test_wrong_credentials_are_reported(
    registry_server: RegisteredBundle, to: Path, credentials: Credentials, reason: str
) -> None:
    with (
        relay(registry_server.uri, require_credentials("Basic x")) as front,
        expect_no_leftovers(to),
        pytest.raises(RegistryUnavailable, match=reason.replace("?", r"\?")) as raised,
    ):
        pull_bundle(registry_server.pin, front.uri, to, credentials=credentials)
    # A retry with wrong credentials could lock the account.
    assert len(front.requested_paths) <= 1
    assert "cret" not in str(raised.value) + repr(credentials)
    assert "\x1b" not in str(raised.value)


@pytest.mark.usefixtures("short_timeouts")
def test_an_untrusted_certificate_is_refused_unless_allowed(
    registry_server: RegisteredBundle, to: Path, tmp_path: Path
) -> None:
    certificate = write_self_signed_certificate(tmp_path / "certificate.pem")
    with relay(registry_server.uri, certificate=certificate) as front:
        with expect_no_leftovers(to), pytest.raises(RegistryUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            pull_bundle(registry_server.pin, front.uri, to, credentials=Credentials("user", SECRET))
        assert front.requested_paths == []
        pull_bundle(registry_server.pin, front.uri, to, credentials=Credentials(insecure_tls=True))
    Bundle.open(to).verify(whole=False)


def test_no_redirect_is_followed(registry_server: RegisteredBundle, to: Path) -> None:
    def intercept(request: RelayRequest) -> bool:
        request.respond(302, Location=f"{elsewhere.uri}/login?state=s3cret")
        return True

    with relay(registry_server.uri) as elsewhere, relay(registry_server.uri, intercept) as front:
        with pytest.raises(RegistryUnavailable, match=f"redirects to {elsewhere.uri}/login, ") as raised:
            pull_bundle(registry_server.pin, front.uri, to, credentials=Credentials("user", SECRET))
        assert elsewhere.requested_paths == []
    assert "s3cr" not in str(raised.value)


def with_location(location: str) -> Intercept:
    """A registry that returns this location for the files of a version."""

    def intercept(request: RelayRequest) -> bool:
        if "get-download-uri" not in request.path:
            return False
        request.respond(200, json.dumps({"artifact_uri": location}).encode())
        return True

    return intercept


def test_another_host_for_the_files_is_not_asked(registry_server: RegisteredBundle, to: Path) -> None:
    path = registry_server.files.relative_to(registry_server.files.parents[3])
    with relay(registry_server.uri) as elsewhere:
        location = f"mlflow-artifacts://u:s3cret@{elsewhere.uri.removeprefix('http://')}/{path}"
        with (
            relay(registry_server.uri, with_location(location)) as front,
            expect_no_leftovers(to),
            pytest.raises(RegistryUnavailable, match="another host, which is not contacted") as raised,
        ):
            pull_bundle(registry_server.pin, front.uri, to, credentials=Credentials("user", SECRET))
    assert elsewhere.requested_paths == []
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("written", ["u:p@{host}", "{host}"])
def test_its_own_host_for_the_files_is_asked(
    registry_server: RegisteredBundle, to: Path, written: str
) -> None:
    path = registry_server.files.relative_to(registry_server.files.parents[3])
    with relay(registry_server.uri, lambda request: with_location(location)(request)) as front:
        location = f"mlflow-artifacts://{written.format(host=front.uri.removeprefix('http://'))}/{path}"
        pull_bundle(registry_server.pin, front.uri, to)
    Bundle.open(to).verify(whole=False)


@pytest.mark.parametrize(
    "location",
    [
        "mlflow-artifacts://host:99999/x",
        "mlflow-artifacts://[::1/x",
        "file://[x/y",
        "file:///a\0b",
        "",
        "x" * 10**5,
    ],
)
def test_an_odd_place_for_the_files_is_one_sentence(
    registry_server: RegisteredBundle, to: Path, location: str
) -> None:
    with (
        relay(registry_server.uri, with_location(location)) as front,
        expect_no_leftovers(to),
        pytest.raises((RegistryUnavailable, VersionDamaged)) as raised,
    ):
        pull_bundle(registry_server.pin, front.uri, to)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


OTHER = "http://mlflow.example:5000"


@pytest.mark.parametrize(
    ("location", "uri", "other"),
    [
        ("mlflow-artifacts:/1/x", OTHER, False),
        ("mlflow-artifacts://mlflow.example:5000/1/x", OTHER, False),
        ("mlflow-artifacts://MLflow.Example.:5000/1/x", OTHER, False),
        ("mlflow-artifacts://mlflow.example/1/x", "https://u:p@mlflow.example:443/prefix", False),
        ("mlflow-artifacts://mlflow.example/1/x", OTHER, True),
        ("mlflow-artifacts://other.example:5000/1/x", OTHER, True),
        ("mlflow-artifacts://mlflow.example:5000@other.example/x", OTHER, True),
        ("http://mlflow.example:5000/x", OTHER, False),
        ("http://other.example/x", OTHER, True),
        ("http://mlflow.example/x", "https://mlflow.example", True),
        ("http://other.example/x", "sqlite:///mlflow.db", True),
        ("s3://bucket/x", OTHER, False),
        ("/srv/x", OTHER, False),
        ("file:///srv/x", "sqlite:///mlflow.db", False),
    ],
)
def test_host_of_the_files_is_compared(location: str, uri: str, other: bool) -> None:
    assert is_other_host(location, uri) is other


ANY_CREDENTIALS = [
    Credentials("user", SECRET),
    Credentials(token=SECRET),
    Credentials("user"),
    Credentials(password=SECRET),
]
REMOTE = ["http://mlflow.example", "http://192.0.2.1:5000", "http://[2001:db8::1]/x", "http://localhost.example",
       "http://127.1", "HTTP://0x7f000001", "http://127.0.0.1.example", "http://0.0.0.0"]  # fmt: skip
PRIVATE = ["http://localhost:5000", "http://LOCALHOST.", "http://127.0.0.1", "http://127.8.8.8", "http://[::1]:1",
        "http://[::ffff:127.0.0.1]", "http://x.localhost", "https://mlflow.example", "sqlite:"]  # fmt: skip


@pytest.mark.parametrize("uri", REMOTE)
def test_credentials_are_not_sent_where_others_can_read_them(to: Path, uri: str) -> None:
    for credentials in ANY_CREDENTIALS:
        with (
            expect_no_leftovers(to),
            pytest.raises(RegistryUnavailable, match="GOLDFISH_REGISTRY_PLAIN_") as raised,
        ):
            pull_bundle(Pin("tiny", 1, "0" * 64), uri, to, credentials=credentials)
        assert "s3cr" not in str(raised.value)
        assert plaintext_exposure(uri, replace(credentials, plain_http=True)) is None
    assert plaintext_exposure(uri, Credentials()) is None
    assert plaintext_exposure(uri.replace("//", "//user:s3cret@"), Credentials())


@pytest.mark.parametrize("uri", PRIVATE)
def test_credentials_are_sent_where_nobody_else_can_read_them(uri: str) -> None:
    assert [plaintext_exposure(uri, credentials) for credentials in ANY_CREDENTIALS] == [None] * len(
        ANY_CREDENTIALS
    )


@pytest.mark.parametrize("allowed", [False, True])
def test_the_pipeline_has_the_same_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@nowhere.invalid:9")
    monkeypatch.setenv("GOLDFISH_REGISTRY_PLAIN_HTTP", str(allowed))
    expected = pipeline.errors.RegistryUnavailable if allowed else pipeline.errors.RegistryRefused
    with pytest.raises(expected, match=r"nowhere\.invalid") as raised:
        pipeline.registry.mlflow_registry.Registry.connect(pipeline.environment.Environment.read())
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("TOKEN", "s3cret"), ("USERNAME", "user"), ("PASSWORD", "s3cret")]
)
def test_the_pipeline_sends_nothing_of_the_environment_either(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid:9")
    with pytest.raises(pipeline.errors.RegistryRefused):
        pipeline.registry.mlflow_registry.Registry.connect(pipeline.environment.Environment.read())


def test_the_pipeline_asks_no_other_host_for_files(registry_server: RegisteredBundle) -> None:
    location = "mlflow-artifacts://nowhere.invalid/x"
    with relay(registry_server.uri, with_location(location)) as front:
        client = connect(front.uri)
        with pytest.raises(
            pipeline.errors.RegistryRefused, match=r"nowhere\.invalid/x for files, another host"
        ):
            verify_files(client, client.get_by_digest("tiny", registry_server.pin.digest))
