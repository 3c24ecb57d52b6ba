"""API keys with a name, an expiry and a quota, in a file that is read again while the server runs."""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.api.key_file import MAX_KEYS, ApiKey, KeyFileInvalid, parse_keys, read_key_file
from serving.api.key_store import KeyStore
from serving.config import SettingsInvalid
from serving.rates import Rate
from tests.repo.imports import ROOT
from tests.serving.api.test_routes import check_problem
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.server.test_log_and_metrics import line_of, series
from tests.serving.servers import TIMEOUT, Server, await_ready, publish, running
from tests.serving.wire import RawResponse, ask, post

RED = one_colour_png(COLOURS["red"])


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


ALICE, BOB, EVE = digest("alice"), digest("bob"), digest("eve")
SPRING = datetime(2027, 2, 1, tzinfo=UTC)
TEXTS: dict[str, list[ApiKey]] = {
    ALICE: [ApiKey(ALICE[:12], ALICE)],
    f"{ALICE},{BOB} ,\n": [ApiKey(ALICE[:12], ALICE), ApiKey(BOB[:12], BOB)],
    f"{ALICE} {BOB}": [ApiKey(ALICE[:12], ALICE), ApiKey(BOB[:12], BOB)],
    f"{ALICE}\n{ALICE}": [ApiKey(ALICE[:12], ALICE)] * 2,
    f"# all\r\n\r\n  alice\t{ALICE}   # hers\r\n": [ApiKey("alice", ALICE)],
    f"alice {ALICE} expires=2027-01-31": [ApiKey("alice", ALICE, SPRING)],
    f"alice {ALICE} expires=2027-02-01T01:00+01:00": [ApiKey("alice", ALICE, SPRING)],
    f"alice {ALICE} quota=10/day expires=2027-01-31": [ApiKey("alice", ALICE, SPRING, Rate(10, 86_400))],
    f"alice {ALICE}\nalice {BOB}": [ApiKey("alice", ALICE), ApiKey("alice", BOB)],
    f"team-2.web_app {ALICE}": [ApiKey("team-2.web_app", ALICE)],
}


@pytest.mark.parametrize("text", TEXTS)
def test_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_bytes(text.encode("utf-8-sig"))
    assert list(read_key_file(tmp_path / "keys")) == TEXTS[text]


WRONG = {
    "nothing": "",
    "a comment": "# none yet\n",
    "a word": "secret",
    "a name alone": "alice",
    "a key that is none": "alice secret",
    "half a digest": ALICE[:-1],
    "capitals": ALICE.upper(),
    "a name with a slash": f"a/b {ALICE}",
    "a name with a bracket": f"(other) {ALICE}",
    "a long name": f"{'x' * 49} {ALICE}",
    "a digest as a name": f"{ALICE} {BOB} quota=1/day",
    "two digests": f"alice {ALICE} {BOB}",
    "another option": f"alice {ALICE} rate=1/day",
    "an option twice": f"alice {ALICE} quota=1/day quota=2/day",
    "an option without a value": f"alice {ALICE} quota=",
    "no rate": f"alice {ALICE} quota=secret",
    "no date": f"alice {ALICE} expires=secret",
    "no day": f"alice {ALICE} expires=2027-02-30",
    "the last of days": f"alice {ALICE} expires=9999-12-31",
    "no zone": f"alice {ALICE} expires=2027-01-31T12:00",
    "two names": f"alice {ALICE}\nbob {ALICE}",
    "two quotas": f"alice {ALICE} quota=1/day\nalice {ALICE}",
    "too many": "\n".join(digest(str(number)) for number in range(MAX_KEYS + 1)),
    "too large": "#" * 2**21,
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_key_files(name: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(WRONG[name])
    with pytest.raises(KeyFileInvalid) as caught:
        read_key_file(tmp_path / "keys")
    assert not re.search(f"secret|{ALICE}|{BOB}", str(caught.value))


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyFileInvalid):
        read_key_file(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"# caf\xe9\n")
    with pytest.raises(KeyFileInvalid):
        read_key_file(tmp_path / "latin")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(OSError, match=str(path)):
            read_key_file(path)


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Makes a key with the command."""
    return subprocess.run(
        [sys.executable, "-m", "serving.keys", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


def test_command_makes_a_key_and_its_line() -> None:
    made = run_command("alice", "--expires", "2999-12-31", "--quota", "10/day")
    key, line = made.stdout.splitlines()
    assert (made.returncode, made.stderr) == (0, "")
    assert len(key) >= 43
    assert line == f"alice  {digest(key)}  expires=2999-12-31  quota=10/day"
    assert parse_keys(line)[0].name == "alice"
    assert key not in run_command("alice").stdout


@pytest.mark.parametrize(
    "arguments", [["a b"], [""], ["alice", "--quota", "x"], ["alice", "--expires", "2020-01-01"], []]
)
def test_command_makes_no_key_that_would_not_work(arguments: list[str]) -> None:
    made = run_command(*arguments)
    assert (made.returncode, made.stdout) == (2, "")
    assert made.stderr


FILE = f"""\
# The keys of the tests.
alice  {ALICE}
bob    {BOB}    quota=2/day
bob    {digest("bob2")}  quota=2/day
eve    {EVE}    expires=2020-12-31
"""


def write(server: Server, text: str) -> None:
    """Replaces the file, as an editor does, and waits until the next request makes the server read it."""
    (server.folder / "new").write_text(text)
    (server.folder / "new").replace(server.folder / "keys")
    time.sleep(1.1)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a file of keys."""
    folder = publish(tmp_path_factory.mktemp("keyed"))
    (folder / "keys").write_text(FILE)
    with running(folder, GOLDFISH_API_KEYS_FILE="keys") as started:
        yield started


def predict_with_key(server: Server, key: str) -> RawResponse:
    return ask(server, post("/inference", RED, f"X-API-Key: {key}"))


def key_messages(server: Server) -> list[dict[str, Any]]:
    """The log lines about keys."""
    return [line for line in server.log() if line["message"].startswith("keys")]


def test_name_is_in_the_line_and_in_the_metrics(keyed: Server) -> None:
    response = predict_with_key(keyed, "alice")
    assert line_of(keyed, response.headers["x-request-id"])["key"] == "alice"
    assert series(keyed)["goldfish_key_requests_total key=alice status=200"] >= 1
    unknown = predict_with_key(keyed, "mallory")
    assert unknown.json["code"] == "api_key_unknown"
    assert "key" not in line_of(keyed, unknown.headers["x-request-id"])
    log = (keyed.folder / "log").read_text()
    assert not any(secret in log for secret in (ALICE, BOB, "mallory"))


def test_expired_key(keyed: Server) -> None:
    response = keyed.post("/predict", data=RED, headers={"Authorization": "Bearer eve"})
    assert "eve" in check_problem(response, 401, "key_expired")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert line_of(keyed, response.headers["X-Request-Id"])["key"] == "eve"


def test_quota(keyed: Server) -> None:
    # Both keys of this name share one quota.
    assert [predict_with_key(keyed, key).status for key in ("bob", "bob2", "bob")] == [200, 200, 429]
    response = keyed.post("/predict", data=RED, headers={"X-API-Key": "bob2"})
    assert "2/day" in check_problem(response, 429, "quota_exceeded")
    assert 1 <= int(response.headers["Retry-After"]) <= 86_400
    assert predict_with_key(keyed, "alice").status == 200


def test_file_is_read_again(keyed: Server) -> None:
    write(keyed, f"carol {digest('carol')}\nbob {BOB} quota=2/day\n")
    assert [predict_with_key(keyed, key).status for key in ("carol", "alice")] == [200, 401]
    # The quota is not reset.
    assert predict_with_key(keyed, "bob").json["code"] == "quota_exceeded"
    assert key_messages(keyed)[-1].items() >= {"message": "keys read", "keys": 2}.items()
    write(keyed, FILE)
    assert [predict_with_key(keyed, key).status for key in ("alice", "carol")] == [200, 401]


def make_unusable(file: Path, how: str) -> None:
    """Makes a key file unusable."""
    if how in ("empty", "broken"):
        file.write_text("alice" if how == "broken" else "")
        return
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how == "a pipe":
        os.mkfifo(file)
    elif how == "a link to itself":
        file.symlink_to(file.name)


@pytest.mark.parametrize("how", ["deleted", "empty", "broken", "a folder", "a pipe", "a link to itself"])
def test_an_invalid_key_file_keeps_the_previous_keys(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(FILE)
    store = KeyStore((), file, seconds=0)
    make_unusable(file, how)
    for _ in range(3):
        assert store.find(ALICE)
        assert not store.find(digest("mallory"))
    # It is logged once.
    assert [record.message for record in caplog.records] == ["keys refused"]
    with pytest.raises(SettingsInvalid, match="GOLDFISH_API_KEYS_FILE cannot be used"):
        KeyStore((), file)
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    file.write_text(f"carol {digest('carol')}")
    assert not store.find(ALICE)
    assert store.find(digest("carol"))


def test_a_deleted_key_file_keeps_the_previous_keys(keyed: Server) -> None:
    before = len(key_messages(keyed))
    (keyed.folder / "keys").unlink()
    time.sleep(1.1)
    responses = [predict_with_key(keyed, key).status for key in ("alice", "mallory", "", "alice")]
    assert responses == [200, 401, 401, 200]
    (line,) = key_messages(keyed)[before:]
    assert (line["level"], line["code"]) == ("error", "keys_invalid")
    write(keyed, FILE)
    assert predict_with_key(keyed, "alice").status == 200


def test_a_mounted_secret_is_swapped_behind_its_link(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    for name, key in (("..1", "alice"), ("..2", "carol")):
        (folder / name).mkdir()
        (folder / name / "keys").write_text(f"{key} {digest(key)}\n")
    (folder / "..data").symlink_to("..1")
    (folder / "keys").symlink_to("..data/keys")
    with running(folder, GOLDFISH_API_KEYS_FILE="keys") as server:
        assert [predict_with_key(server, key).status for key in ("alice", "carol")] == [200, 401]
        (folder / "..next").symlink_to("..2")
        (folder / "..next").replace(folder / "..data")
        time.sleep(1.1)
        assert [predict_with_key(server, key).status for key in ("alice", "carol")] == [401, 200]
        # A new worker reads the current file, not the one of the server's start.
        server.worker.kill()
        time.sleep(0.1)
        await_ready(server)
        assert [predict_with_key(server, key).status for key in ("alice", "carol")] == [401, 200]


def test_a_key_expires_after_its_last_day(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for days, over in ((-2, True), (-1, True), (0, False), (1, False)):
        (tmp_path / "keys").write_text(f"eve {EVE} expires={(now + timedelta(days=days)).date()}")
        store = KeyStore((), tmp_path / "keys")
        (eve,) = read_key_file(tmp_path / "keys")
        assert (store.find(EVE), store.is_expired(eve)) == (eve, over)


def test_names_in_the_metrics_are_bounded(keyed: Server) -> None:
    write(keyed, "\n".join(f"client-{number} {digest(str(number))}" for number in range(150)))
    for number in range(150):
        assert predict_with_key(keyed, str(number)).status == 200
    named = [name for name in series(keyed) if name.startswith("goldfish_key_requests_total")]
    assert len({name for name in named if "client-" in name}) < 100
    assert series(keyed)["goldfish_key_requests_total key=(other) status=200"] > 50
    write(keyed, FILE)
