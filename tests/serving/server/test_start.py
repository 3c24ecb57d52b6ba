"""A server starts from the pinned bundle, or prints one sentence that names the file that is wrong."""

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import requests

from serving.api.service import Service
from serving.artifact.bundle import Bundle
from serving.artifact.files import to_json
from serving.artifact.manifest import GOLDEN, GRAPH, LABELS, MANIFEST
from serving.artifact.pin import Pin
from serving.artifact.release import find_releases
from serving.config import Settings, variable
from serving.errors import ServingError
from serving.server.drain import Drain
from tests.serving.artifact.test_bundle_is_checked import LABEL, PIPELINE_FILES, flip
from tests.serving.bundles import (
    COLOURS,
    expected_probabilities,
    one_colour_png,
    onnx_graph,
    write_bundle,
    write_files,
    write_manifest,
)
from tests.serving.registries import register_bundle
from tests.serving.servers import TIMEOUT, Server, free_port, publish, running, start_server

RED = one_colour_png(COLOURS["red"])
BUNDLE, PIN, REPORT = "models/colours/bundle", "pins/colours.json", "reports/colours/metrics.json"


def outcome(folder: Path, **settings: object) -> tuple[int, str]:
    """Starts a server that ends by itself; returns its exit code and its output, stdout and stderr."""
    process = start_server(folder, **({"port": free_port()} | settings))
    try:
        return process.wait(TIMEOUT), (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def refusal(folder: Path, **settings: object) -> str:
    """The only line that a server prints when it refuses to start."""
    code, output = outcome(folder, **settings)
    assert code != 0, output
    assert output.endswith("\n")
    assert len(output.splitlines()) == 1, output
    return output.rstrip("\n")


def pin(folder: Path, digest: str = "", version: int = 3) -> None:
    """Pins the current bundle, or another digest."""
    digest = digest or Bundle.open(folder / BUNDLE).digest
    (folder / PIN).write_bytes(Pin("colours", version, digest).to_bytes())


def resealed(files: dict[str, bytes], **claims: Any) -> Callable[[Path], None]:  # noqa: ANN401  (those of seal)
    """Replaces files or fields of the manifest, and writes the right digests."""

    def spoil(folder: Path) -> None:
        write_files(folder / BUNDLE, files)
        write_manifest(folder / BUNDLE, **claims)
        pin(folder)

    return spoil


def written(path: str, data: bytes) -> Callable[[Path], None]:
    """A file with other contents."""
    return lambda folder: write_files(folder, {path: data})


def renamed(folder: Path) -> None:
    """Changes one letter in the manifest, which stays valid."""
    path = folder / BUNDLE / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"name": "colours"', b'"name": "colourz"'))


def other(folder: Path) -> None:
    """Adds a second bundle, which is not pinned."""
    write_bundle(folder / "other", steepness=5.0)


def a_folder_instead(path: str) -> Callable[[Path], None]:
    """A folder where a file should be."""

    def spoil(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path).mkdir(parents=True)

    return spoil


def a_pipe_instead(path: str) -> Callable[[Path], None]:
    """A pipe where a file should be, without a writer."""

    def spoil(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        os.mkfifo(folder / path)

    return spoil


def a_link_to_itself_instead(path: str) -> Callable[[Path], None]:
    """A link where a file should be, which leads nowhere."""

    def spoil(folder: Path) -> None:
        (folder / path).unlink()
        (folder / path).symlink_to(Path(path).name)

    return spoil


def tolerant(folder: Path) -> None:
    """Golden predictions with a tolerance that accepts any model."""
    answers = json.loads((folder / BUNDLE / GOLDEN).read_bytes()) | {"tolerance": 1e9}
    resealed({GOLDEN: to_json(answers)})(folder)


MORE_LABELS = to_json([*LABEL, {"id": "c3", "name": "grey"}])

# How the folder is damaged, the settings, the file that the error names, and a part of its reason.
REFUSED: dict[str, tuple[Callable[[Path], object], dict[str, object], str, str]] = {
    "a bit in the graph": (lambda folder: flip(folder / BUNDLE / GRAPH, 100), {}, GRAPH, "was changed"),
    "a bit in the labels": (lambda folder: flip(folder / BUNDLE / LABELS, 0), {}, LABELS, "was changed"),
    "a bit in a golden image": (
        lambda folder: flip(folder / BUNDLE / GOLDEN.replace("golden.json", "1.png"), -1),
        {},
        "golden/1.png",
        "was changed",
    ),
    "a bit in the manifest": (
        lambda folder: flip(folder / BUNDLE / MANIFEST, 0),
        {},
        MANIFEST,
        "not a manifest",
    ),
    "a letter in the manifest": (renamed, {}, f"{BUNDLE}/{MANIFEST}", "is not what pins/colours.json names"),
    "no labels": (lambda folder: (folder / BUNDLE / LABELS).unlink(), {}, LABELS, "is not there"),
    "no graph": (lambda folder: (folder / BUNDLE / GRAPH).unlink(), {}, GRAPH, "is not there"),
    "a file too many": (written(f"{BUNDLE}/serving/x.onnx", b""), {}, "serving/x.onnx", "does not name it"),
    "no bundle, no registry": (
        lambda folder: rmtree(folder / BUNDLE),
        {},
        f"{BUNDLE}/{MANIFEST}",
        "mlflow.db",
    ),
    "no pin": (lambda folder: (folder / PIN).unlink(), {}, PIN, "nothing is pinned yet"),
    "a pin that is no JSON": (written(PIN, b"{"), {}, PIN, "not as promote writes it"),
    "a pin of another model": (
        written(PIN, Pin("digits", 3, "0" * 64).to_bytes()),
        *({}, PIN, "not a version of colours"),
    ),
    "a pin by hand": (
        written(PIN, b'{"name": "colours", "version": 3, "digest": "x"}'),
        {},
        PIN,
        "its bytes",
    ),
    "a pin of brackets": (written(PIN, b"[" * 100_000), {}, PIN, "not as promote writes it"),
    "a folder instead of the pin": (a_folder_instead(PIN), {}, PIN, ""),
    "a pipe instead of the pin": (a_pipe_instead(PIN), {}, PIN, "it is a pipe"),
    "a link to itself instead of the pin": (a_link_to_itself_instead(PIN), {}, PIN, "symbolic links"),
    "a pipe instead of the manifest": (a_pipe_instead(f"{BUNDLE}/{MANIFEST}"), {}, MANIFEST, "it is a pipe"),
    "a pipe instead of the graph": (a_pipe_instead(f"{BUNDLE}/{GRAPH}"), {}, GRAPH, "it is a pipe"),
    "a link to itself instead of the labels": (
        a_link_to_itself_instead(f"{BUNDLE}/{LABELS}"),
        *({}, LABELS, "symbolic links"),
    ),
    "a negative version": (lambda folder: pin(folder, version=-1), {}, PIN, "-1 is no version"),
    "a version of 2^70": (lambda folder: pin(folder, version=2**70), {}, PIN, f"{2**70} is no version"),
    "a manifest of another model": (resealed({}, name="digits"), {}, MANIFEST, "of the model 'digits'"),
    "a tolerance of 1e9": (tolerant, {}, GOLDEN, "its tolerance is 1000000000.0"),
    "another digest pinned, no registry": (
        lambda folder: pin(folder, "0" * 64),
        *({}, f"{BUNDLE}/{MANIFEST}", "mlflow.db"),
    ),
    "a label too few": (resealed({LABELS: to_json(LABEL[:2])}), {}, LABELS, "2 labels for 3 outputs"),
    "a label too many": (resealed({LABELS: MORE_LABELS}, classes=4), {}, GRAPH, "its output is"),
    "another shape": (resealed({}, shape=(16, 16, 3)), {}, MANIFEST, "[16, 16, 3]"),
    "another model": (
        resealed({GRAPH: onnx_graph(steepness=5.0, energy=True)}),
        {},
        "golden/0.png",
        "does not give the recorded probabilities",
    ),
    "no ONNX": (resealed({GRAPH: b"<html>"}), {}, GRAPH, "ONNX Runtime cannot load it"),
    "another bundle named": (other, {"bundle": "other"}, f"other/{MANIFEST}", "but pins/colours.json names"),
    "no bundle where one is named": (other, {"bundle": "nowhere"}, "nowhere", "has no manifest.json"),
    "no limit": (other, {"rate_limit": "nonsense"}, "GOLDFISH_RATE_LIMIT", "60/minute"),
    "no number": (other, {"slots": "many"}, "GOLDFISH_SLOTS", "Expected `int`"),
    "another model's name": (other, {"model": "digits"}, "pins/digits.json", "nothing is pinned yet"),
}


def check_error(text: str, file: str, reason: str) -> None:
    assert file in text
    assert reason in text
    assert "Error(" not in text
    assert len(text.splitlines()) == 1


def load(environment: dict[str, str]) -> None:
    """Does in this process what a server does before it is ready."""
    settings = Settings.read(environment)
    Service.start(settings, find_releases(settings), slots=1, drain=Drain())


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    spoil, values, file, reason = REFUSED[name]
    spoil(publish(tmp_path))
    monkeypatch.chdir(tmp_path)
    environment = {variable(key): str(value) for key, value in ({"model": "colours"} | values).items()}
    with pytest.raises(ServingError) as raised:
        load(environment)
    check_error(str(raised.value), file, reason)


# One of each place where a start may fail: the settings, the pin, the files, the graph, its outputs.
STARTED = (
    "no limit",
    "a pin that is no JSON",
    "a pipe instead of the pin",
    "no bundle, no registry",
    "a bit in the graph",
    "no ONNX",
    "a label too few",
    "another model",
)


@pytest.mark.parametrize("name", STARTED)
def test_a_server_that_refuses_to_start_prints_one_line(tmp_path: Path, name: str) -> None:
    spoil, settings, file, reason = REFUSED[name]
    spoil(publish(tmp_path))
    check_error(refusal(tmp_path, **settings), file, reason)


def test_no_health_check_succeeds_before_a_start_that_fails(tmp_path: Path) -> None:
    # The port is open while the model is loaded, so a load balancer may send health checks.
    resealed({GRAPH: onnx_graph(steepness=5.0, energy=True)})(publish(tmp_path))
    port, statuses = free_port(), []
    process, end = start_server(tmp_path, port=port), time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < end:
        try:
            statuses.append(requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code)
        except requests.RequestException:
            time.sleep(0.02)
    process.kill()
    assert process.wait(TIMEOUT) > 0
    assert statuses == []


def test_port_in_use(tmp_path: Path, server: Server) -> None:
    code, said = outcome(publish(tmp_path), port=server.port)
    assert (code, len(said.splitlines())) == (1, 1)
    assert f"Cannot listen at 127.0.0.1:{server.port} (Address already in use): set another" in said
    assert server.get("/readyz").ok


@pytest.mark.parametrize("host", ["a b", "nowhere.invalid", "192.0.2.1", "x" * 300])
def test_host_that_is_none(tmp_path: Path, host: str) -> None:
    code, said = outcome(publish(tmp_path), host=host)
    assert (code, len(said.splitlines())) == (1, 1)
    assert "GOLDFISH_HOST" in said


def test_says_what_it_serves_and_where(server: Server) -> None:
    ready = server.log()[0]
    assert (ready["level"], ready["message"], ready["model"], ready["version"]) == (
        "info",
        "ready",
        "colours",
        3,
    )
    assert ready["digest"] == Bundle.open(server.folder / BUNDLE).digest
    assert ready["url"] == server.url
    assert ready["seconds"] > 0


def test_slim_bundle(tmp_path: Path) -> None:
    publish(tmp_path, extra=PIPELINE_FILES)
    digest = Bundle.open(tmp_path / BUNDLE).digest
    for name in PIPELINE_FILES:
        (tmp_path / BUNDLE / name).unlink()
    with running(tmp_path) as server:
        response = server.post("/inference", data=RED)
        assert next(iter(response.json())) == "red"
        assert response.headers["X-Model-Digest"] == digest


def test_pinned_bundle_is_pulled_when_the_workspace_has_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a rollback: the workspace has the newest bundle, the pin names an older one in the registry.
    (tmp_path / "project").mkdir()
    project = publish(tmp_path / "project")
    # The artifacts of the embedded registry go to the current directory.
    monkeypatch.chdir(project)
    release = register_bundle(f"sqlite:///{project / 'mlflow.db'}", tmp_path, "colours", steepness=6.0)
    (project / "pins/colours.json").write_bytes(release.pin.to_bytes())
    for _ in range(2):
        with running(project) as server:
            assert server.get("/version").json()["digest"] == release.pin.digest
            answer = server.post("/inference", data=one_colour_png(COLOURS["red"])).json()
            assert answer["red"] == pytest.approx(expected_probabilities(COLOURS["red"], 6.0)[0], abs=1e-5)
    pulled = project / "models/colours/pulled" / release.pin.digest[:12]
    assert not (pulled / "MLmodel").exists()
    # A pulled bundle is checked too; a damaged one is pulled again.
    (pulled / LABELS).write_bytes(b"[]")
    with running(project) as server:
        assert server.get("/readyz").ok


def test_bundle_elsewhere(tmp_path: Path) -> None:
    (publish(tmp_path) / BUNDLE).rename(tmp_path / "released")
    (tmp_path / "pins").rename(tmp_path / "pinned")
    with running(tmp_path, bundle=tmp_path / "released", pins="pinned") as server:
        assert next(iter(server.post("/inference", data=RED).json())) == "red"


def test_bundle_may_go_once_it_is_loaded(tmp_path: Path) -> None:
    # Files are not read again, so later changes have no effect.
    with running(publish(tmp_path)) as server:
        rmtree(tmp_path / "models")
        rmtree(tmp_path / "pins")
        assert next(iter(server.post("/inference", data=RED).json())) == "red"
        assert server.get("/readyz").ok
        assert server.get("/model").json()["classes"] == 3


@pytest.mark.parametrize("spoil", [written(REPORT, b"\xff\xfe no JSON"), a_pipe_instead(REPORT)])
def test_report_is_not_needed(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    (publish(tmp_path) / REPORT).parent.mkdir(parents=True)
    spoil(tmp_path)
    with running(tmp_path) as server:
        assert server.get("/model").json()["metrics"] is None


def ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    try:
        with closing(socket.socket(socket.AF_INET6)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize(
    "host",
    [
        "[::1]",
        "::1",
    ],
)
def test_ipv6(tmp_path: Path, host: str) -> None:
    port = free_port()
    process = start_server(publish(tmp_path), host=host, port=port, drain=0)
    try:
        server = Server(process, port, tmp_path)
        await_line(server)
        assert requests.get(f"http://[::1]:{port}/readyz", timeout=TIMEOUT).ok
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def await_line(server: Server) -> None:
    """Waits for the log line `ready` of a server that does not listen on 127.0.0.1."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and server.process.poll() is None:
        if '"ready"' in (server.folder / "log").read_text():
            return
        time.sleep(0.02)
    raise AssertionError((server.folder / "log").read_text())
