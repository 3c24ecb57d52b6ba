"""The services of the Compose file as processes: only addresses and paths differ from the file."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.composition.document import document
from tests.serving.servers import free_port

# Seconds that a busy machine may take to start a service.
TIMEOUT = 300.0
# Debian does not put PostgreSQL's programs on PATH, nor nginx for users other than root.
POSTGRES = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
PATH = os.pathsep.join([str(Path(sys.executable).parent), *POSTGRES[-1:], os.environ["PATH"], "/usr/sbin"])
# Long enough that it cannot occur in a list of processes by chance.
PASSWORD = "0123456789abcdef" * 4


@dataclass
class Composition:
    """The services of the file as processes of this machine, with their files in one folder."""

    folder: Path
    services: dict[str, Any] = field(default_factory=lambda: document()["services"])
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in self.services}
        for name in self.services:
            for folder in (self.service_folder(name), self.service_folder(name) / "tmp"):
                folder.mkdir()
                # Writable for every user, like a tmpfs.
                folder.chmod(0o1777)
        (self.folder / "pins").mkdir()
        (self.folder / "db_password").write_text(PASSWORD + "\n")

    @property
    def url(self) -> str:
        """The public address: the proxy."""
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def model(self) -> str:
        """The address of the model server behind the proxy."""
        return f"http://127.0.0.1:{self.ports['model']}"

    @property
    def registry(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    def database(self, user: str, password: str) -> str:
        """The connection string of the database."""
        return f"host=127.0.0.1 port={self.ports['db']} dbname=mlflow user={user} password={password}"

    def socket_options(self) -> list[str]:
        """Options of PostgreSQL's programs to connect as superuser, by the socket inside the container."""
        return [
            "--username=postgres",
            f"--host={self.service_folder('db') / 'tmp'}",
            f"--port={self.ports['db']}",
        ]

    def service_folder(self, name: str) -> Path:
        """The folder of a service."""
        return self.folder / name

    def log(self, name: str) -> str:
        return (self.service_folder(name) / "log").read_text(encoding="utf-8")

    def to_local(self, name: str, text: str) -> str:
        """Replaces addresses and paths of the file in a text of a service by those of this machine."""
        ports = {service: f"127.0.0.1:{port}" for service, port in self.ports.items()}
        local = {
            "0.0.0.0:8080": ports["proxy"],
            "127.0.0.1:8080": ports["proxy"],
            "model:5000": ports["model"],
            "mlflow:5000": ports["mlflow"],
            "db:5432": ports["db"],
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={self.ports[name]}",
            "/run/secrets/": f"{self.folder}/",
            "/var/lib/mlflow": f"{self.folder}/artifacts",
            "/tmp": f"{self.service_folder(name)}/tmp",  # noqa: S108
        }
        # In one pass, so that replacements are not replaced again.
        return re.sub("|".join(map(re.escape, local)), lambda match: local[match[0]], text)

    def command(self, name: str) -> list[str]:
        return [self.to_local(name, word) for word in self.services[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """The service's variables, and those of this process that do not configure these programs."""
        given = {key: self.to_local(name, value) for key, value in self.services[name]["environment"].items()}
        ours = ("GOLDFISH_", "MLFLOW_", "PG", "POSTGRES_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return inherited | {"PATH": PATH} | given

    def start(self, name: str, command: list[str], environment: Mapping[str, str], user: str = "") -> None:
        """Starts a process; as `user` and without capabilities if this is root."""
        log = self.service_folder(name) / "log"
        log.touch()
        # A process of another user opens it again, as /dev/stdout.
        log.chmod(0o666)
        with log.open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [*restricted(user), *command],
                cwd=self.service_folder(name),
                env=dict(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def await_healthy(self, name: str, check: list[str], environment: Mapping[str, str]) -> None:
        """Waits until a health check succeeds, as a container engine does."""
        end = time.monotonic() + TIMEOUT
        while subprocess.run(check, env=dict(environment), capture_output=True, check=False).returncode:
            assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, f"{name} is not healthy: {self.log(name)}"
            time.sleep(0.1)

    def stop(self, name: str) -> int:
        """Stops a service with the signal of the file; returns its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.Signals[self.services[name].get("stop_signal", "SIGTERM")])
        try:
            return process.wait(TIMEOUT)
        finally:
            # Child processes that it has not ended.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def restricted(user: str) -> list[str]:
    """The start of a command that runs as another user without capabilities. Empty unless this is root."""
    if not user or os.geteuid() != 0:
        return []
    uid, _, gid = user.partition(":")
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
    ]


def run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
