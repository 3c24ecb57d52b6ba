"""The pinned bundle is pulled from a real MLflow registry: every byte of it, or nothing at all."""

import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

import pipeline.errors
import pipeline.params
import pipeline.registry.mlflow_registry
from serving.artifact.bundle import Bundle
from serving.artifact.download import DestinationTaken, pull_bundle
from serving.artifact.manifest import GRAPH, LABELS, MANIFEST
from serving.artifact.pin import Pin
from serving.artifact.registry import server as registry_server
from serving.artifact.registry.address import Credentials, is_other_host, plaintext_exposure
from serving.artifact.registry.errors import RegistryUnavailable, VersionDamaged, VersionMissing
from serving.errors import ModelMismatch
from serving.model.predictor import Predictor
from serving.pull import main
from tests.repo.imports import ROOT
from tests.serving.bundles import write_bundle
from tests.serving.registries import (
    PIPELINE_FILES,
    Intercept,
    RegisteredBundle,
    RelayRequest,
    connect,
    flipped_byte,
    mlflow_server,
    register_bundle,
    relay,
    write_self_signed_certificate,
)
from tests.serving.servers import interruptible

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> RegisteredBundle:
    """A bundle in an embedded registry."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        # MLflow's artifacts lie in the current directory.
        patch.chdir(folder)
        return register_bundle(f"sqlite:///{folder}/mlflow.db", folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteredBundle]:
    """A bundle in a server's registry."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder) as address:
        yield register_bundle(address, folder)


@pytest.fixture(scope="module", params=["database", "server"])
def registered(request: pytest.FixtureRequest) -> RegisteredBundle:
    """A bundle in either kind of registry."""
    found: RegisteredBundle = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts and retry delays of a fraction of a second."""
    monkeypatch.setattr(registry_server, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(registry_server, "RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """The destination of a pull; its parent is empty."""
    (tmp_path / "pulled").mkdir()
    return tmp_path / "pulled/bundle"


@pytest.fixture
def pins(database: RegisteredBundle, tmp_path: Path) -> Path:
    """A folder with the pin of the bundle."""
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins/tiny.json").write_bytes(database.pin.to_bytes())
    return tmp_path / "pins"


@contextmanager
def expect_no_leftovers(to: Path) -> Iterator[None]:
    """Checks that a failed pull leaves no folder, not even a hidden one."""
    yield
    assert list(to.parent.iterdir()) == []


def files(folder: Path) -> set[str]:
    """Relative paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def copied(registered: RegisteredBundle, to: Path) -> Path:
    """A copy of the registered bundle, as if it had been pulled before."""
    return Path(shutil.copytree(registered.files, to))


def test_the_pulled_bundle_answers(registered: RegisteredBundle, to: Path) -> None:
    assert pull_bundle(registered.pin, registered.uri, to) == to
    predictor = Predictor.open(to)
    assert predictor.check_golden() <= 0.005
    assert predictor.bundle.digest == registered.pin.digest


@pytest.mark.parametrize("whole", [False, True])
def test_only_what_serves_is_pulled_unless_whole(registered: RegisteredBundle, to: Path, whole: bool) -> None:
    pull_bundle(registered.pin, registered.uri, to, whole)
    Bundle.open(to).verify(whole=whole)
    assert files(to) & set(PIPELINE_FILES) == (set(PIPELINE_FILES) if whole else set())
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_whoever_may_read_the_folder_may_read_the_bundle(database: RegisteredBundle, to: Path) -> None:
    umask = os.umask(0o022)
    try:
        pull_bundle(database.pin, database.uri, to)
    finally:
        os.umask(umask)
    assert [oct(path.stat().st_mode)[-3:] for path in (to, to / MANIFEST)] == ["755", "644"]


def test_the_number_is_only_a_label(registered: RegisteredBundle, to: Path) -> None:
    pull_bundle(replace(registered.pin, version=42), registered.uri, to)
    Bundle.open(to).verify(whole=False)


@pytest.mark.parametrize("name", ["tiny", "huge"])
def test_a_version_that_is_missing_is_named(registered: RegisteredBundle, to: Path, name: str) -> None:
    with (
        expect_no_leftovers(to),
        pytest.raises(VersionMissing, match=f"no version of {name} with digest 000"),
    ):
        pull_bundle(Pin(name, 1, "0" * 64), registered.uri, to)


def test_a_deleted_version_is_passed_over_and_the_first_of_several_taken(
    registered: RegisteredBundle, to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one version per page, a server must be asked several times.
    monkeypatch.setattr(registry_server, "PAGE_SIZE", 1)
    monkeypatch.chdir(registered.files.parents[3])
    client = connect(registered.uri).client
    twice = register_bundle(registered.uri, Path.cwd(), "twice").pin
    source = str(client.get_model_version("twice", "1").source)
    for _ in range(2):
        model = source.removeprefix("models:/")
        client.create_model_version("twice", source, tags={"digest": twice.digest}, model_id=model)
    client.delete_model_version("twice", "1")
    log = io.StringIO()
    pull_bundle(twice, registered.uri, to, log=log)
    assert "twice version 2 at" in log.getvalue()
    for number in "23":
        client.delete_model_version("twice", number)
    with pytest.raises(VersionMissing):
        pull_bundle(twice, registered.uri, tmp_path / "another")


@pytest.mark.parametrize("name", [MANIFEST, GRAPH, LABELS])
def test_a_flipped_byte_is_refused(registered: RegisteredBundle, to: Path, name: str) -> None:
    with (
        flipped_byte(registered.files / name),
        expect_no_leftovers(to),
        pytest.raises(VersionDamaged, match=f"{name} should"),
    ):
        pull_bundle(registered.pin, registered.uri, to)


@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
@pytest.mark.parametrize("extra", [None, b"x" * 2**20])
def test_a_missing_or_longer_file_is_refused(
    registered: RegisteredBundle, to: Path, name: str, extra: bytes | None
) -> None:
    path = registered.files / name
    whole = path.read_bytes()
    path.unlink() if extra is None else path.write_bytes(whole + extra)
    reason = "is not there" if extra is None else "has more than"
    try:
        with expect_no_leftovers(to), pytest.raises(VersionDamaged, match=f"{name} {reason}"):
            pull_bundle(registered.pin, registered.uri, to)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (NOBODY_LISTENS, "Connection refused"),
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
        ("server", "s3://bucket/model"),
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
    server: RegisteredBundle, to: Path, authorization: str, user: str, credentials: Credentials
) -> None:
    with relay(server.uri, require_credentials(authorization)) as front:
        uri = f"{front.uri}/prefix/".replace("//", f"//{user}", 1)
        pull_bundle(server.pin, uri, to, credentials=credentials)
    Bundle.open(to).verify(whole=False)
    assert all(path.startswith("/prefix/api/2.0/mlflow") for path in front.requested_paths)


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (Credentials("user", "s3cret"), "answers 401: Who are .2J you.; MLFLOW_TRACKING_USERNAME"),
        (Credentials("", "", "s3cret"), "answers 401"),
        (Credentials("", "", "s3\ncret"), "the token holds signs"),
        (Credentials(), "answers 401"),
    ],
)
def test_wrong_credentials_are_reported(
    server: RegisteredBundle, to: Path, credentials: Credentials, reason: str
) -> None:
    with (
        relay(server.uri, require_credentials("Basic x")) as front,
        expect_no_leftovers(to),
        pytest.raises(RegistryUnavailable, match=reason.replace("?", r"\?")) as raised,
    ):
        pull_bundle(server.pin, front.uri, to, credentials=credentials)
    # A retry with wrong credentials could lock the account.
    assert len(front.requested_paths) <= 1
    assert "cret" not in str(raised.value) + repr(credentials)
    assert "\x1b" not in str(raised.value)


@pytest.mark.usefixtures("short_timeouts")
def test_an_untrusted_certificate_is_refused_unless_allowed(
    server: RegisteredBundle, to: Path, tmp_path: Path
) -> None:
    certificate = write_self_signed_certificate(tmp_path / "certificate.pem")
    with relay(server.uri, certificate=certificate) as front:
        with expect_no_leftovers(to), pytest.raises(RegistryUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            pull_bundle(server.pin, front.uri, to, credentials=Credentials("user", SECRET))
        assert front.requested_paths == []
        pull_bundle(server.pin, front.uri, to, credentials=Credentials(insecure_tls=True))
    Bundle.open(to).verify(whole=False)


def test_no_redirect_is_followed(server: RegisteredBundle, to: Path) -> None:
    def intercept(request: RelayRequest) -> bool:
        request.respond(302, Location=f"{elsewhere.uri}/login?state=s3cret")
        return True

    with relay(server.uri) as elsewhere, relay(server.uri, intercept) as front:
        with pytest.raises(RegistryUnavailable, match=f"redirects to {elsewhere.uri}/login, ") as raised:
            pull_bundle(server.pin, front.uri, to, credentials=Credentials("user", SECRET))
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


def test_another_host_for_the_files_is_not_asked(server: RegisteredBundle, to: Path) -> None:
    path = server.files.relative_to(server.files.parents[3])
    with relay(server.uri) as elsewhere:
        location = f"mlflow-artifacts://u:s3cret@{elsewhere.uri.removeprefix('http://')}/{path}"
        with (
            relay(server.uri, with_location(location)) as front,
            expect_no_leftovers(to),
            pytest.raises(RegistryUnavailable, match="another host, which is not asked") as raised,
        ):
            pull_bundle(server.pin, front.uri, to, credentials=Credentials("user", SECRET))
    assert elsewhere.requested_paths == []
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("written", ["u:p@{host}", "{host}"])
def test_its_own_host_for_the_files_is_asked(server: RegisteredBundle, to: Path, written: str) -> None:
    path = server.files.relative_to(server.files.parents[3])
    with relay(server.uri, lambda request: with_location(location)(request)) as front:
        location = f"mlflow-artifacts://{written.format(host=front.uri.removeprefix('http://'))}/{path}"
        pull_bundle(server.pin, front.uri, to)
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
    server: RegisteredBundle, to: Path, location: str
) -> None:
    with (
        relay(server.uri, with_location(location)) as front,
        expect_no_leftovers(to),
        pytest.raises((RegistryUnavailable, VersionDamaged)) as raised,
    ):
        pull_bundle(server.pin, front.uri, to)
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


def test_the_pipeline_asks_no_other_host_for_files(server: RegisteredBundle) -> None:
    location = "mlflow-artifacts://nowhere.invalid/x"
    with relay(server.uri, with_location(location)) as front:
        client = connect(front.uri)
        with pytest.raises(
            pipeline.errors.RegistryRefused, match=r"nowhere\.invalid/x for files, another host"
        ):
            client.verify(client.get("tiny", server.pin.digest))


def stalled(request: RelayRequest) -> bool:
    """Does not respond before the timeout."""
    time.sleep(1.0)
    return True


def dropped(_: RelayRequest) -> bool:
    """Closes the connection."""
    return True


def endless(request: RelayRequest, headers: Mapping[str, str] = {}) -> bool:
    """Sends until the client closes the connection."""
    request.send_response(200)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 2**16)


def trickle(request: RelayRequest) -> bool:
    """Sends a byte before every timeout, without end."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" ")
        time.sleep(0.05)


def cut(request: RelayRequest) -> bool:
    """Sends less than its Content-Length."""
    request.respond(200, b"{}", length=100)
    return True


def busy(request: RelayRequest) -> bool:
    request.respond(503, b'{"error_code": "X", "message": "come back\\nlater"}')
    return True


def broken(request: RelayRequest) -> bool:
    request.respond(500, b"<html>oops")
    return True


def login_page(request: RelayRequest) -> bool:
    request.respond(200, b"<html>Please log in")
    return True


def not_found(request: RelayRequest) -> bool:
    request.respond(404)
    return True


def wrong_types(request: RelayRequest) -> bool:
    request.respond(200, b'{"model_versions": [{"version": null}]}')
    return True


FAULTS = [
    (stalled, 3, "timed out, 3 times"),
    (dropped, 3, "closed connection without response, 3 times"),
    (cut, 3, "2 bytes came of 100, 3 times"),
    (busy, 3, "it answers 503: come back later, 3 times"),
    (trickle, 3, r"bytes came in \d+ seconds, 3 times"),
    (broken, 1, "it answers 500: <html>oops"),
    (login_page, 1, "its answer is not MLflow's"),
    (wrong_types, 1, "its answer is not MLflow's"),
    (endless, 1, "its answer is not MLflow's"),
    (not_found, 1, "which MLflow has"),
]


@pytest.mark.parametrize(("intercept", "times", "reason"), FAULTS, ids=[case[0].__name__ for case in FAULTS])
@pytest.mark.usefixtures("short_timeouts")
def test_a_server_that_does_not_answer_well_is_given_up(
    server: RegisteredBundle,
    to: Path,
    monkeypatch: pytest.MonkeyPatch,
    intercept: Intercept,
    times: int,
    reason: str,
) -> None:
    monkeypatch.setattr(registry_server, "MIN_BYTES_PER_SECOND", 10**9)
    with (
        relay(server.uri, intercept) as front,
        expect_no_leftovers(to),
        pytest.raises(RegistryUnavailable, match=reason),
    ):
        pull_bundle(server.pin, front.uri, to)
    assert len(front.requested_paths) == times


@pytest.mark.parametrize("intercept", [stalled, dropped, cut, busy])
@pytest.mark.usefixtures("short_timeouts")
def test_what_goes_wrong_once_is_tried_again(
    server: RegisteredBundle, to: Path, intercept: Intercept
) -> None:
    seen: set[str] = set()

    def once(request: RelayRequest) -> bool:
        if request.path in seen:
            return False
        seen.add(request.path)
        return intercept(request)

    with relay(server.uri, once) as front:
        pull_bundle(server.pin, front.uri, to)
    Bundle.open(to).verify(whole=False)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(10**12)}])
@pytest.mark.parametrize("name", [MANIFEST, GRAPH])
def test_an_endless_file_is_not_read_to_its_end(
    server: RegisteredBundle, to: Path, name: str, headers: dict[str, str]
) -> None:
    def intercept(request: RelayRequest) -> bool:
        return endless(request, headers) if request.path.endswith(name) else False

    with (
        relay(server.uri, intercept) as front,
        expect_no_leftovers(to),
        pytest.raises(VersionDamaged, match=f"{name} has more than"),
    ):
        pull_bundle(server.pin, front.uri, to)
    assert front.client_disconnected.wait(5)
    assert sum(path.endswith(name) for path in front.requested_paths) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_there_is_not_pulled_again(database: RegisteredBundle, to: Path, whole: bool) -> None:
    pull_bundle(database.pin, database.uri, to, whole)
    inode = to.stat().st_ino
    log = io.StringIO()
    # The registry is not contacted: nothing listens at this address.
    assert pull_bundle(database.pin, NOBODY_LISTENS, to, log=log) == to
    assert log.getvalue() == f"tiny {database.pin.digest[:12]} is there already\n"
    pull_bundle(database.pin, database.uri, to, whole=True)
    assert (to.stat().st_ino == inode) == whole
    Bundle.open(to).verify()


def overwritten(to: Path) -> None:
    (to / GRAPH).write_bytes(b"overwritten")


def without_manifest(to: Path) -> None:
    (to / MANIFEST).unlink()


def without_graph(to: Path) -> None:
    (to / GRAPH).unlink()


def with_extra_file(to: Path) -> None:
    (to / "serving/more").touch()


def of_another_model(to: Path) -> None:
    shutil.rmtree(to)
    write_bundle(to, "another")


def empty(to: Path) -> None:
    shutil.rmtree(to)
    to.mkdir()


def linked(to: Path) -> None:
    shutil.rmtree(to)
    (to.parent.parent / "real").mkdir()
    to.symlink_to(to.parent.parent / "real")


@pytest.mark.parametrize(
    "spoil", [overwritten, without_manifest, without_graph, with_extra_file, of_another_model, empty, linked]
)
def test_damaged_or_other_bundle_is_replaced(
    database: RegisteredBundle, to: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(copied(database, to))
    pull_bundle(database.pin, database.uri, to)
    Predictor.open(to).check_golden()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]
    assert to.is_symlink() == (spoil is linked)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_files_are_not_replaced(database: RegisteredBundle, to: Path, kind: str) -> None:
    precious = to if kind == "file" else to / "precious"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("photos")
    with pytest.raises(DestinationTaken, match="holds something that is no bundle"):
        pull_bundle(database.pin, database.uri, to)
    assert precious.read_text() == "photos"


def test_what_was_there_stays_when_the_new_one_is_refused(registered: RegisteredBundle, to: Path) -> None:
    before = Bundle.open(write_bundle(to, "another"))
    with flipped_byte(registered.files / LABELS), pytest.raises(VersionDamaged):
        pull_bundle(registered.pin, registered.uri, to)
    before.verify()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_what_was_there_comes_back_when_replacing_is_interrupted(
    database: RegisteredBundle, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Bundle.open(write_bundle(to, "another"))
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull_bundle(database.pin, database.uri, to)
    before.verify()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_pulls_at_once_all_end_well(database: RegisteredBundle, to: Path) -> None:
    overwritten(copied(database, to))

    def pull_and_use() -> None:
        Predictor.open(pull_bundle(database.pin, database.uri, to)).check_golden()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(pull_and_use) for _ in range(8)]:
            done.result()
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_a_pull_that_comes_second_leaves_what_the_first_has_put_there(
    database: RegisteredBundle, to: Path
) -> None:
    first = os.open(to.parent, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(pull_bundle, database.pin, database.uri, to)
        while not list(to.parent.glob(".bundle.*/new/manifest.json")):
            assert not second.done()
        time.sleep(0.1)
        inode = copied(database, to).stat().st_ino
        os.close(first)
        second.result()
    assert to.stat().st_ino == inode
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def start_pull(pins: Path, to: Path, uri: str) -> subprocess.Popen[str]:
    line = f"-m serving.pull tiny --pins {pins} --to {to} --registry {uri}".split()
    return subprocess.Popen(
        [sys.executable, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_processes_at_once_all_end_well(server: RegisteredBundle, pins: Path, to: Path) -> None:
    started = [start_pull(pins, to, server.uri) for _ in range(3)]
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert {out for out, _ in ended} == {f"{to}\n"}
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]
    Bundle.open(to).verify(whole=False)


def test_an_interrupted_command_leaves_nothing(server: RegisteredBundle, pins: Path, to: Path) -> None:
    def intercept(request: RelayRequest) -> bool:
        return trickle(request) if request.path.endswith(GRAPH) else False

    with relay(server.uri, intercept) as front, expect_no_leftovers(to):
        with interruptible():
            process = start_pull(pins, to, front.uri)
        while not any(path.endswith(GRAPH) for path in front.requested_paths):
            time.sleep(0.02)
        assert [path.name[:8] for path in to.parent.iterdir()] == [".bundle."]
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert error.splitlines()[-1] == "interrupted; what was there before is still whole"


@contextmanager
def unfinished_pull(server: RegisteredBundle, pins: Path, to: Path) -> Iterator["subprocess.Popen[str]"]:
    """A subprocess whose pull has begun and does not end."""

    def intercept(request: RelayRequest) -> bool:
        return trickle(request) if request.path.endswith(GRAPH) else False

    with relay(server.uri, intercept) as front:
        process = start_pull(pins, to, front.uri)
        while not any(path.endswith(GRAPH) for path in front.requested_paths):
            assert process.poll() is None
            time.sleep(0.02)
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=20)


def test_what_a_killed_pull_leaves_is_removed_by_the_next(
    server: RegisteredBundle, pins: Path, to: Path
) -> None:
    with unfinished_pull(server, pins, to):
        pass
    assert [path.name[:9] for path in to.parent.iterdir()] == [".bundle.p"]
    pull_bundle(server.pin, server.uri, to)
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_what_a_pull_is_using_is_left_alone(server: RegisteredBundle, pins: Path, to: Path) -> None:
    for name in (".bundle.backup", ".bundle", ".other.pulling-1", "bundle.pulling-1"):
        (to.parent / name).mkdir()
    (to.parent / ".bundle.pulling-link").symlink_to(pins)
    mine = set(to.parent.iterdir())
    with unfinished_pull(server, pins, to) as process:
        (used,) = set(to.parent.iterdir()) - mine
        pull_bundle(server.pin, server.uri, to)
        assert used.is_dir()
        assert process.poll() is None
    # With the bundle in place nothing is pulled, and leftovers are still removed.
    pull_bundle(server.pin, NOBODY_LISTENS, to)
    assert set(to.parent.iterdir()) == {*mine, to}
    assert (pins / "tiny.json").exists()


def test_what_a_killed_pull_had_put_aside_comes_back(to: Path) -> None:
    before = write_bundle(to.parent / ".bundle.pulling-x/old", "another")
    digest = Bundle.open(before).digest
    with pytest.raises(RegistryUnavailable):
        pull_bundle(Pin("tiny", 1, "0" * 64), "sqlite:///nowhere.db", to)
    assert Bundle.open(to).digest == digest
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_a_link_to_itself_is_no_place(database: RegisteredBundle, to: Path) -> None:
    to.symlink_to(to)
    with pytest.raises((DestinationTaken, OSError)):
        pull_bundle(database.pin, database.uri, to)
    assert [path.name for path in to.parent.iterdir()] == ["bundle"]


def test_a_manifest_of_another_model_is_refused(registered: RegisteredBundle, to: Path) -> None:
    # The pin was written by hand, and the version was registered under another name.
    with (
        expect_no_leftovers(to),
        pytest.raises(ModelMismatch, match=r"of the model 'tiny', and the pin .* huge"),
    ):
        pull_bundle(replace(registered.pin, name="huge"), register_under_other_name("huge", registered), to)


def register_under_other_name(name: str, registered: RegisteredBundle) -> str:
    """Registers the same files under another name; returns the registry's address."""
    client = connect(registered.uri).client
    with suppress(MlflowException):
        client.create_registered_model(name)
    source = str(client.get_model_version("tiny", "1").source)
    model = source.removeprefix("models:/")
    client.create_model_version(name, source, tags={"digest": registered.pin.digest}, model_id=model)
    return registered.uri


def test_the_command_prints_the_path(
    database: RegisteredBundle,
    pins: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    assert main(["tiny"]) == 0
    out, error = capsys.readouterr()
    assert out == f"models/tiny/pulled/{database.pin.digest[:12]}\n"
    Bundle.open(tmp_path / out.strip()).verify(whole=False)
    size = sum(
        file.size for file in Bundle.open(database.files).manifest.files.values() if file.role == "serving"
    )
    assert error == f"pulling tiny version 1 at {database.uri}: {size:,} bytes in 7 files\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["tiny", "--registry", NOBODY_LISTENS], "Connection refused"),
        (["tiny", "--registry", "sqlite:///nowhere.db"], "unable to open"),
        (["tiny", "--to", "pins"], "no bundle"),
        (["tiny", "--to", "/proc/bundle"], "No such file"),
        ([], r"digits\.json: nothing is pinned"),
    ],
)
@pytest.mark.usefixtures("short_timeouts", "pins")
def test_the_command_reports_errors(
    database: RegisteredBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    assert main(arguments) == 1
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("error: ")
    assert re.search(reason, line)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_percents(registered: RegisteredBundle, to: Path) -> None:
    log = Terminal()
    pull_bundle(registered.pin, registered.uri, to, log=log)
    percents = [int(part.strip(" %\n")) for part in log.getvalue().split("\r")[1:]]
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert log.getvalue().endswith("100 %\n")


def test_pulling_needs_no_mlflow() -> None:
    code = "import sys, serving.pull; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(done.stdout.split()) & {"mlflow", "requests", "dvc", "pandas", "tensorflow", "sqlalchemy"}
