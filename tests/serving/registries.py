"""Real MLflow registries with a tiny bundle, and an HTTP relay that injects faults in front of a server."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread
from urllib.error import HTTPError

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pipeline.environment import Environment
from pipeline.registry.mlflow_registry import Registry
from pipeline.registry.mlflow_version import VersionMetadata, get_or_create_version
from serving.artifact.bundle import Bundle
from serving.artifact.pin import Pin
from tests.serving.bundles import write_bundle

# No server listens here.
UNUSED_ADDRESS = "http://127.0.0.1:9"
# Files of a bundle that only the pipeline needs.
PIPELINE_FILES = {"MLmodel": b"flavors: {}\n", "code/x.py": b"X = 1\n"}


@dataclass(frozen=True)
class RegisteredBundle:
    """A registered bundle, and the folder where the registry stores its files."""

    uri: str
    pin: Pin
    files: Path


def connect(uri: str) -> Registry:
    return Registry.connect(Environment(uri, Path.cwd(), experiment=False))


def register_bundle(uri: str, folder: Path, name: str = "tiny", steepness: float = 4.0) -> RegisteredBundle:
    """Registers a bundle as the pipeline does. `folder` holds the bundle and a server's artifact store."""
    bundle = Bundle.open(write_bundle(folder / f"{name}-{steepness}", name, steepness, PIPELINE_FILES))
    reports = folder / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "report.txt").write_text("good")
    record = VersionMetadata({}, {"top1": 0.9}, {}, "d" * 64, "here", reports, "A model for tests.")
    registry = connect(uri)
    version = get_or_create_version(registry, bundle, record)
    location = registry.client.get_model_version_download_uri(name, str(version.number))
    proxied = f"{folder / 'artifacts'}/"
    files = location.removeprefix("file://").replace("mlflow-artifacts:/", proxied)
    return RegisteredBundle(uri, Pin(name, version.number, version.digest), Path(files))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Runs an MLflow server on loopback that serves the artifacts too; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"""
        -m mlflow server --host 127.0.0.1 --port {port} --workers 1
        --backend-store-uri sqlite:///server.db --artifacts-destination artifacts
    """
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_until_healthy(address: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


class RelayRequest(BaseHTTPRequestHandler):
    """Handles one request to a relay."""

    server: "Relay"

    def do_GET(self) -> None:
        self.server.requested_paths.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization"))
        # The client under test closes the connection when it has read enough.
        try:
            if not self.server.intercept(self):
                self.forward()
        except (BrokenPipeError, ConnectionResetError):
            self.server.client_disconnected.set()

    def forward(self) -> None:
        try:
            with urllib.request.urlopen(self.server.upstream + self.path, timeout=10) as response:
                self.respond(response.status, response.read())
        except HTTPError as error:
            with error:
                self.respond(error.code, error.read())

    def respond(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """`length`: the Content-Length to declare, by default the right one."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


Intercept = Callable[[RelayRequest], bool]


class Relay(ThreadingHTTPServer):
    """Forwards requests to a server unless `intercept` returns True; records paths and credentials."""

    daemon_threads = True

    def __init__(self, upstream: str, intercept: Intercept) -> None:
        super().__init__(("127.0.0.1", 0), RelayRequest)
        self.upstream, self.intercept = upstream, intercept
        self.requested_paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.client_disconnected = Event()
        self.uri = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def relay(
    upstream: str, intercept: Intercept = lambda _: False, certificate: Path | None = None
) -> Iterator[Relay]:
    """Runs a relay on loopback for the duration of a block; with a certificate it uses TLS."""
    with Relay(upstream, intercept) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.uri = server.uri.replace("http", "https")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def write_self_signed_certificate(path: Path) -> Path:
    """Writes a key and a self-signed certificate for loopback."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(loopback, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


@contextmanager
def flipped_byte(path: Path) -> Iterator[None]:
    """Flips one bit in the middle of a file, for the duration of a block."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(whole)


def trickle(request: RelayRequest) -> bool:
    """Sends a byte before every timeout, without end."""
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" ")
        time.sleep(0.05)


def copy_bundle(registered: RegisteredBundle, to: Path) -> Path:
    """A copy of the registered bundle, as if it had been pulled before."""
    return Path(shutil.copytree(registered.files, to))


@contextmanager
def expect_no_leftovers(to: Path) -> Iterator[None]:
    """Checks that a failed pull leaves no folder, not even a hidden one."""
    yield
    assert list(to.parent.iterdir()) == []
