"""wrk's output is parsed, and wrk posts the files to the servers."""

import shutil
from pathlib import Path

import pytest

from benchmarks.errors import LoadFailed, ToolMissing
from benchmarks.serving.load_generator import Load, generate_load, parse, wrk_version
from tests.serving.bundles import one_colour_png
from tests.serving.servers import publish, running

OUTPUT = """\
Running 8s test @ http://127.0.0.1:5000/inference
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    20.62ms    3.10ms  54.20ms   86.11%
    Req/Sec   388.11     20.00   410.00     75.00%
  Latency Distribution
     50%   {p50}
     75%   22.00ms
     90%   24.20ms
     99%   {p99}
  3200 requests in 8.00s, 1.20MB read
{more}Requests/sec:    400.00
Transfer/sec:    153.60KB
"""
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
REFUSED = "  Non-2xx or 3xx responses: 800\n"
BROKEN = "  Socket errors: connect 1, read 2, write 3, timeout 4\n"


@pytest.mark.parametrize(
    ("p50", "p99", "more", "expected"),
    [
        ("20.00ms", "40.50ms", "", Load(400, 20, 40.5, 0)),
        ("850.00us", "1.20s", "", Load(400, 0.85, 1200, 0)),
        ("5.00s", "1.50m", REFUSED, Load(300, 5000, 90_000, 800)),
        ("20.00ms", "40.00ms", BROKEN, Load(400, 20, 40, 10)),
        ("20.00ms", "40.00ms", BROKEN + REFUSED, Load(300, 20, 40, 810)),
    ],
    ids=["plain", "units", "refused", "broken", "both"],
)
def test_figures_are_parsed(p50: str, p99: str, more: str, expected: Load) -> None:
    load = parse(OUTPUT.format(p50=p50, p99=p99, more=more))
    assert load.rate == pytest.approx(expected.rate)
    assert (load.p50, load.p99, load.errors) == pytest.approx((expected.p50, expected.p99, expected.errors))


@pytest.mark.parametrize("output", ["", "unable to connect", OUTPUT.replace("99%   {p99}", "")])
def test_missing_figures_are_an_error(output: str) -> None:
    with pytest.raises(LoadFailed, match="printed no figures"):
        parse(output)


def test_without_wrk_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="`apt-get install wrk`"):
        wrk_version()


@needs_wrk
def test_files_are_posted_in_turn(tmp_path: Path) -> None:
    bodies = [tmp_path / "red", tmp_path / "blue", tmp_path / "broken"]
    for body, data in zip(
        bodies, (one_colour_png((255, 0, 0)), one_colour_png((0, 0, 255)), b"no image"), strict=True
    ):
        body.write_bytes(data)
    with running(publish(tmp_path)) as server:
        headers = {"X-Request-Id": "from-wrk"}
        load = generate_load([f"{server.url}/inference"], "image/png", bodies, 2, 1, more_headers=headers)
        requests = [line for line in server.log() if line.get("route") == "/inference"]
    assert {line["request_id"] for line in requests} == {"from-wrk"}
    statuses = [line["status"] for line in requests]
    assert load.rate > 0
    # Requests in flight at the end are in the server's log, but not in wrk's count.
    assert abs(load.errors - statuses.count(415)) <= 2
    assert abs(statuses.count(200) - 2 * statuses.count(415)) <= 2


@needs_wrk
def test_several_servers_share_the_clients(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no image")
    folders = [publish(tmp_path / "one"), publish(tmp_path / "two")]
    with running(folders[0]) as one, running(folders[1]) as two:
        urls = [f"{server.url}/inference" for server in (one, two)]
        load = generate_load(urls, "image/png", [tmp_path / "broken"], clients=2, seconds=1)
        counts = [sum(line.get("status") == 415 for line in server.log()) for server in (one, two)]
    assert min(counts) > 0
    # As above; the errors of both servers are summed up.
    assert abs(load.errors - sum(counts)) <= 2
