"""Pods as processes of this machine: what a kubelet makes of a rendered manifest, without a container.

Command, environment, user, mounts, probes and grace periods are those of manifest and image. Addresses,
ports and the root of all paths differ. A read-only file system is a folder that the pod's user cannot write.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Thread

from tests.deploy.composition.processes import restricted
from tests.deploy.kubernetes.image import Image, read_image
from tests.deploy.kubernetes.rendered import Document, find, pod_of
from tests.repo.imports import ROOT
from tests.serving.servers import free_port

_SWAPS = count()


def mount(folder: Path, files: Mapping[str, bytes]) -> None:
    """Mounts a ConfigMap or Secret, or changes it, as the kubelet does.

    The files are links through the link `..data`, which is replaced in one step, so that all of them change
    at once. The folder before is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, fresh = folder / "..data", folder / f"..{next(_SWAPS)}"
    old = folder / data.readlink() if data.is_symlink() else None
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").replace(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    if old:
        for path in old.iterdir():
            path.unlink()
        old.rmdir()


# Fails where a user cannot start this interpreter: a process that root has made can, but not its own.
START_PYTHON = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"


@cache
def as_user(user: str) -> list[str]:
    """The start of a command that runs as the pod's user without capabilities.

    Where Python lies in a folder that only root can enter, it keeps the one that allows to read everything.
    """
    start = restricted(user)
    check = [*start, sys.executable, "-c", START_PYTHON]
    if start and subprocess.run(check, capture_output=True, check=False).returncode:
        reading = "+dac_read_search"
        bounding, inheritable = start.index("--bounding-set=-all"), start.index("--inh-caps=-all")
        start[bounding] = f"--bounding-set=-all,{reading}"
        start[inheritable] = f"--inh-caps=-all,{reading}"
        start.append(f"--ambient-caps=-all,{reading}")
    return start


@dataclass
class Pod:
    """A pod of an overlay's objects. `folder` is its root; `secrets` are the files of each Secret.

    `changed` are environment variables that differ from the manifest's.
    """

    folder: Path
    objects: list[Document]
    secrets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    image: Image = field(default_factory=read_image)
    ready: bool = False
    deleted_at: float | None = None
    ended: Event = field(default_factory=Event)
    code: int | None = None

    def __post_init__(self) -> None:
        self.spec = pod_of(self.objects)
        (self.container,) = self.spec["containers"]
        settings = self.settings()
        self.ports = {int(settings[name]): free_port() for name in ("PORT", "GOLDFISH_METRICS_PORT")}
        for volume in self.spec["volumes"]:
            self._mount(volume)
        # What the container has before it starts.
        self.given = set(self.folder.rglob("*"))

    def settings(self) -> dict[str, str]:
        """The variables that the manifest gives to the container."""
        given: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            given |= find(self.objects, "ConfigMap", source["configMapRef"]["name"])["data"]
        return given | {each["name"]: each["value"] for each in self.container.get("env", [])}

    def place(self, path: str) -> Path:
        """Where a path of the container is on this machine."""
        return self.folder / path.lstrip("/")

    def _mount(self, volume: Document) -> None:
        (target,) = [
            self.place(each["mountPath"])
            for each in self.container["volumeMounts"]
            if each["name"] == volume["name"]
        ]
        target.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            data = find(self.objects, "ConfigMap", volume["configMap"]["name"])["data"]
            mount(target, {name: text.encode() for name, text in data.items()})
        elif "secret" in volume:
            mount(target, self.secrets[volume["secret"]["secretName"]])
        else:
            assert volume["emptyDir"]
            target.chmod(0o777)

    @property
    def port(self) -> int:
        """Where the container's port for requests is on this machine."""
        return self.ports[int(self.settings()["PORT"])]

    @property
    def metrics_port(self) -> int:
        return self.ports[int(self.settings()["GOLDFISH_METRICS_PORT"])]

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """All variables of the process."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GOLDFISH_", "MLFLOW_", "PYTHON", "PORT"))
        }
        inside = self.image.environment | self.settings() | self.changed
        local = {
            "GOLDFISH_HOST": "127.0.0.1",
            "PORT": str(self.port),
            "GOLDFISH_METRICS_PORT": str(self.metrics_port),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.place("/tmp")),  # noqa: S108
        }
        return inherited | {name: self._localize(value) for name, value in inside.items()} | local

    def _localize(self, value: str) -> str:
        """A variable whose value is a path of the container gets that of this machine."""
        return str(self.place(value)) if re.fullmatch(r"(/[\w.-]+)+", value) else value

    def command(self) -> list[str]:
        """The container's command, or else the image's, by this interpreter."""
        words = [*self.container.get("command", self.image.entrypoint), *self.container.get("args", [])]
        assert words[0] == "python3"
        return [sys.executable, *words[1:]]

    def user(self) -> str:
        """The container's user and group."""
        context = self.container["securityContext"]
        return f"{context['runAsUser']}:{context['runAsGroup']}"

    def start(self) -> "Pod":
        """Starts the process, and its probes."""
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*as_user(self.user()), *self.command()],
                cwd=self.place(self.image.folder),
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        Thread(target=self._probe, daemon=True).start()
        Thread(target=self._reap, daemon=True).start()
        return self

    def _reap(self) -> None:
        self.code = self.process.wait()
        self.ready = False
        self.ended.set()

    def _probe(self) -> None:
        """The startup probe until it succeeds, then the readiness probe, until the process ends."""
        startup, readiness = self.container["startupProbe"], self.container["readinessProbe"]
        for _ in range(startup["failureThreshold"]):
            if self.succeeds(startup):
                break
            if self.ended.wait(startup["periodSeconds"]):
                return
        else:
            self.process.kill()
            return
        failures = 0
        while not self.ended.is_set():
            failures = 0 if self.succeeds(readiness) else failures + 1
            self.ready = failures < readiness["failureThreshold"]
            self.ended.wait(readiness["periodSeconds"])

    def succeeds(self, probe: Document) -> bool:
        """Makes the request of a probe."""
        request = probe["httpGet"]
        connection = HTTPConnection("127.0.0.1", self.ports[request["port"]], timeout=probe["timeoutSeconds"])
        try:
            connection.request("GET", request["path"])
            return 200 <= connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def await_ready(self) -> "Pod":
        """Waits until the probes have found it ready."""
        end = time.monotonic() + 60
        while not self.ready:
            assert not self.ended.is_set(), self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)
        return self

    def delete(self) -> None:
        """Ends it as the kubelet does: SIGTERM, and SIGKILL after the grace period. Does not wait."""
        self.deleted_at = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        Thread(target=self._kill_after_grace, daemon=True).start()

    def _kill_after_grace(self) -> None:
        if not self.ended.wait(self.spec["terminationGracePeriodSeconds"]):
            self.process.kill()

    def await_end(self) -> float:
        """Waits until a deleted pod has ended; returns the seconds since then."""
        assert self.deleted_at is not None
        assert self.ended.wait(self.spec["terminationGracePeriodSeconds"] + 10)
        return time.monotonic() - self.deleted_at

    def quit(self) -> None:
        """Ends it at once."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGQUIT)
        if not self.ended.wait(10):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def get(self, path: str, port: int = 0) -> tuple[int, bytes]:
        """Sends one GET; status and body. `port` is another one than that for requests."""
        return self.request("GET", path, b"", port)

    def request(
        self, method: str, path: str, body: bytes, port: int = 0, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Sends one request; status and body."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
