"""What deploy/compose.yaml says, and its processes without an engine: addresses and paths differ, no more."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.repo.imports import ROOT
from tests.serving.servers import free_port

DEPLOY = ROOT / "deploy"
FILE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"\$(?:\$|\{\w+:-([^}]*)\})")
PATIENCE = 60.0
# Of Debian's packages; PostgreSQL's programs are not on the path.
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PROGRAMS = ("nginx", "envsubst", "curl", "setpriv")
PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), *map(str, POSTGRES[-1:]), "/usr/sbin", os.environ["PATH"]]
)
# As hexadecimal digits are, but longer than all that could stand in a process list by chance.
PASSWORD = "0123456789abcdef" * 4


def composition(file: Path = FILE) -> dict[str, Any]:
    """The document, with the defaults of its variables."""
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    filled: dict[str, Any] = _filled(document)
    return filled


def _filled(value: Any) -> Any:  # noqa: ANN401  (a part of a YAML document)
    if isinstance(value, dict):
        return {key: _filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part) for part in value]
    return VARIABLE.sub(lambda match: match[1] or "$", value) if isinstance(value, str) else value


@dataclass
class Composition:
    """The running processes. `names` maps what stands in the file to what holds on this machine."""

    folder: Path
    services: dict[str, Any] = field(default_factory=lambda: composition()["services"])
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in self.services}
        for name in self.services:
            for folder in (self.own(name), self.own(name) / "tmp"):
                folder.mkdir()
                # As a tmpfs is: whoever the process is may write.
                folder.chmod(0o1777)
        (self.folder / "pins").mkdir()
        (self.folder / "db_password").write_text(PASSWORD + "\n")

    @property
    def url(self) -> str:
        """What the world asks."""
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def model(self) -> str:
        """What the proxy asks."""
        return f"http://127.0.0.1:{self.ports['model']}"

    @property
    def registry(self) -> str:
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    def own(self, name: str) -> Path:
        """The folder of a service."""
        return self.folder / name

    def log(self, name: str) -> str:
        return (self.own(name) / "log").read_text(encoding="utf-8")

    def here(self, name: str, text: str) -> str:
        """What a service's text says, on this machine."""
        ports = {service: f"127.0.0.1:{port}" for service, port in self.ports.items()}
        meant = {
            "0.0.0.0:8080": ports["proxy"],
            "127.0.0.1:8080": ports["proxy"],
            "model:5000": ports["model"],
            "mlflow:5000": ports["mlflow"],
            "db:5432": ports["db"],
            "--host=0.0.0.0": "--host=127.0.0.1",
            "--port=5000": f"--port={self.ports[name]}",
            "/run/secrets/": f"{self.folder}/",
            "/var/lib/mlflow": f"{self.folder}/artifacts",
            "/tmp": f"{self.own(name)}/tmp",  # noqa: S108
        }
        # In one go: what has been put in is not looked at again.
        return re.sub("|".join(map(re.escape, meant)), lambda match: meant[match[0]], text)

    def command(self, name: str) -> list[str]:
        return [self.here(name, word) for word in self.services[name]["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """That of the file, in one that has nothing else to say to these programs."""
        given = {key: self.here(name, value) for key, value in self.services[name]["environment"].items()}
        ours = ("GOLDFISH_", "MLFLOW_", "PG", "POSTGRES_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return inherited | {"PATH": PATH} | given

    def start(self, name: str, command: list[str], environment: Mapping[str, str], user: str = "") -> None:
        """Starts a process, and waits until what the file calls healthy is so."""
        log = self.own(name) / "log"
        log.touch()
        # A process that is somebody else opens it again, as /dev/stdout.
        log.chmod(0o666)
        with log.open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [*restricted(user), *command],
                cwd=self.own(name),
                env=dict(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def await_healthy(self, name: str, check: list[str], environment: Mapping[str, str]) -> None:
        end = time.monotonic() + PATIENCE
        while subprocess.run(check, env=dict(environment), capture_output=True, check=False).returncode:
            assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, f"{name} is not healthy: {self.log(name)}"
            time.sleep(0.1)

    def stop(self, name: str) -> int:
        """Ends a service as the file says; gives its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.Signals[self.services[name].get("stop_signal", "SIGTERM")])
        try:
            return process.wait(PATIENCE)
        finally:
            # What it has started, if it did not end that.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def restricted(user: str) -> list[str]:
    """As the file has it: another user, without capabilities. Only root can become one."""
    if not user or os.geteuid() != 0:
        return []
    uid, _, gid = user.partition(":")
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
    ]


def start_db(made: Composition) -> None:
    """PostgreSQL, as the entry point of its image makes and starts it."""
    # It refuses root, and a user without a name.
    user = "postgres" if os.geteuid() == 0 else ""
    environment = made.environment("db") | {"PGPORT": str(made.ports["db"])}
    data, tmp = made.own("db") / "data", made.own("db") / "tmp"
    secret = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text().strip()
    options = environment["POSTGRES_INITDB_ARGS"].split()
    pwfile = f"--pwfile={made.folder / 'db_password'}"
    run(
        [*restricted(user), "initdb", "--username=postgres", pwfile, *options, "--no-sync", str(data)],
        environment,
    )
    # Its image listens everywhere, and only the network decides who comes.
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={tmp}"]
    made.start("db", ["postgres", "-D", str(data), *listen], environment, user)
    made.await_healthy("db", ["pg_isready", "--quiet", "--host=127.0.0.1"], environment)
    psql = [
        "psql",
        "-v",
        "ON_ERROR_STOP=1",
        "--no-password",
        "--no-psqlrc",
        f"--host={tmp}",
        "--username=postgres",
    ]
    run([*psql, f"--file={DEPLOY / 'db.sql'}"], environment | {"POSTGRES_PASSWORD": secret})
    made.await_healthy("db", made.services["db"]["healthcheck"]["test"][1:], environment)


def start_mlflow(made: Composition) -> None:
    """MLflow, by the entry point of its image."""
    environment = made.environment("mlflow") | {"PGPASSFILE": str(made.own("mlflow") / "tmp/pgpass")}
    made.start("mlflow", [str(DEPLOY / "mlflow/entrypoint.sh"), *made.command("mlflow")], environment)
    check = ["curl", "--fail", "--silent", f"{made.registry}/health"]
    made.await_healthy("mlflow", check, environment)


def start_model(made: Composition) -> None:
    """The model server without a bundle, as the image without a model has it."""
    environment = made.environment("model") | {
        "PYTHONPATH": str(ROOT),
        "PORT": str(made.ports["model"]),
        "GOLDFISH_PINS": str(made.folder / "pins"),
        "GOLDFISH_MODELS": str(made.own("model") / "tmp/models"),
    }
    made.start("model", [sys.executable, "-m", "serving"], environment)
    made.await_healthy("model", [sys.executable, "-m", "serving.health"], environment)


def start_proxy(made: Composition, **changed: str) -> None:
    """nginx, with its configuration filled in as its image does it; `changed` are values for that."""
    service = made.services["proxy"]
    (template,) = [volume["source"] for volume in service["volumes"]]
    environment = made.environment("proxy") | changed
    names = " ".join(f"${{{name}}}" for name in environment)
    text = (DEPLOY / template).read_bytes()
    filled = subprocess.run(["envsubst", names], input=text, env=environment, capture_output=True, check=True)
    (Path(environment["NGINX_ENVSUBST_OUTPUT_DIR"]) / "nginx.conf").write_bytes(filled.stdout)
    made.start("proxy", made.command("proxy"), environment, service["user"])


def await_proxy(made: Composition) -> None:
    """Waits until a client gets through to a ready model."""
    check = [made.here("proxy", word) for word in made.services["proxy"]["healthcheck"]["test"][1:]]
    made.await_healthy("proxy", check, made.environment("proxy"))


def run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def composed() -> Iterator[Composition]:
    """PostgreSQL, MLflow and nginx; the model server is for when something is pinned."""
    missing = [name for name in (*PROGRAMS, "postgres", "psql") if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not there: `apt-get install nginx-light postgresql gettext-base curl`"
        )
    with TemporaryDirectory(prefix="goldfish-compose-") as name, ExitStack() as stack:
        folder = Path(name)
        # Not one of pytest's, which only their owner may enter.
        folder.chmod(0o755)
        made = Composition(folder)
        stack.callback(stop_all, made)
        start_db(made)
        start_mlflow(made)
        start_proxy(made)
        yield made


def stop_all(made: Composition) -> None:
    """In the order in which an engine does it: first who depends on others."""
    for name in [name for name in made.services if name in made.processes]:
        made.stop(name)
