"""The same with Ray, on this machine and on a cluster of two nodes."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.scoring.workspace import KILLER, environment, files, rows, score, start, with_killer
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import free_port

TIMEOUT_S = 120


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the environment of a run on it."""

    env: dict[str, str]
    nodes: list["subprocess.Popen[bytes]"]

    def actors(self) -> list[psutil.Process]:
        """The processes of the actors that score."""
        found = []
        for node in self.nodes:
            for process in psutil.Process(node.pid).children(recursive=True):
                if process.status() != psutil.STATUS_ZOMBIE and "ChunkScorer" in " ".join(process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with one core each, on loopback."""
    folder = tmp_path_factory.mktemp("ray")
    address, client = (f"127.0.0.1:{free_port()}" for _ in range(2))
    env = with_killer(folder) | {
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    # Random ports for workers: the usual range may contain those of the cluster.
    ray += ["--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"]
    # Short, because the paths of sockets are limited; not the usual one, where Ray notes the last cluster.
    temporary = tempfile.mkdtemp(prefix="ray-")
    ports = [f"--port={address.split(':')[1]}", f"--ray-client-server-port={client.split(':')[1]}"]
    head = ["--head", "--include-dashboard=false", f"--temp-dir={temporary}", *ports]
    nodes: list[subprocess.Popen[bytes]] = []
    log = folder / "log"
    try:
        for role in (head, [f"--address={address}"]):
            with log.open("ab") as file:
                nodes.append(subprocess.Popen([*ray, *role], env=env, stdout=file, stderr=file))
            await_true(lambda: log.read_text().count("Ray runtime started") == len(nodes), nodes[-1])
        yield Cluster(env, nodes)
    finally:
        # SIGTERM would wait half a minute for work that could be moved to other nodes.
        for node in nodes:
            main = psutil.Process(node.pid)
            for process in [*main.children(recursive=True), main]:
                process.kill()
            node.wait(TIMEOUT_S)
        shutil.rmtree(temporary, ignore_errors=True)


def await_true(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Returns when the condition holds; fails if the process ends before, or after `TIMEOUT_S`."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


def test_result_is_that_of_the_other_engine(
    workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = score(workspace, str(many), "--out", str(out), "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert files(out) == files(undisturbed)


# A cluster of two nodes and a run on it take a minute. In test_resuming.py a process is killed without Ray.
@pytest.mark.slow
def test_result_is_the_same_though_a_worker_is_killed(
    cluster: Cluster, workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(workspace, str(many), "--out", str(out), "--engine", "ray", env=cluster.env)
    await_true(lambda: bool(cluster.actors()), process)
    cluster.actors()[0].kill()
    assert process.poll() is None
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors.decode()
    assert files(out) == files(undisturbed)


@pytest.mark.slow
def test_killed_run_goes_on(
    cluster: Cluster, workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(workspace, str(many), "--out", str(out), "--engine", "ray", env=cluster.env)
    await_true((out / "part-000000.parquet").exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = score(workspace, str(many), "--out", str(out), "--engine", "ray", env=cluster.env)
    assert done.returncode == 0, done.stderr
    assert "were finished before" in done.stderr
    assert files(out) == files(undisturbed)


@pytest.mark.slow
def test_image_that_kills_its_worker_is_a_row(cluster: Cluster, workspace: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(100):
        (photos / f"{number}.png").write_bytes(one_colour_png(COLOURS["red"]))
    (photos / KILLER).write_bytes(one_colour_png(COLOURS["blue"]))
    done = score(workspace, str(photos), "--out", str(out), "--engine", "ray", env=cluster.env)
    assert done.returncode == 0, done.stderr
    found = {row["path"]: row["label"] or row["error_code"] for row in rows(out)}
    assert found.pop(KILLER) == "worker_killed"
    assert list(found.values()) == ["red"] * 100


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_cluster_that_is_not_there(workspace: Path, many: Path, tmp_path: Path, address: str) -> None:
    env = environment() | {"RAY_ADDRESS": address}
    done = score(workspace, str(many), "--out", str(tmp_path / "out"), "--engine", "ray", env=env)
    assert done.returncode == 1
    assert f"RAY_ADDRESS is {address}" in done.stderr
    assert "Traceback" not in done.stderr


# Three minutes.
@pytest.mark.slow
def test_ten_kills_at_random_moments(
    cluster: Cluster, workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    moments = random.Random(7)
    out = tmp_path / "out"
    killed = 0
    for number in range(10):
        process = start(workspace, str(many), "--out", str(out), "--engine", "ray", env=cluster.env)
        # The first seconds start Ray, so that most of the kills meet actors that load or score.
        time.sleep(moments.uniform(2, 12))
        victims = [process] if number % 2 else cluster.actors()[:1]
        killed += process.poll() is None and bool(victims)
        for victim in victims:
            victim.kill()
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        if (out / "run.json").exists():
            assert files(out) == files(undisturbed)
            shutil.rmtree(out)
    # The others had just ended, or not begun.
    assert killed >= 5
    assert score(workspace, str(many), "--out", str(out), "--engine", "ray", env=cluster.env).returncode == 0
    assert files(out) == files(undisturbed)
