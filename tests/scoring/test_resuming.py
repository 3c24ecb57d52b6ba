"""A run that was ended at any moment goes on where it was, and its result is that of one without a break."""

import json
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.scoring.conftest import IMAGES
from tests.scoring.workspace import KILLER, files, rows, score, start, with_killer
from tests.serving.bundles import COLOURS, one_colour_png


def kill(process: "subprocess.Popen[bytes]", out: Path) -> bool:
    """Kills the first process of a run, without notice. Returns whether it was still at work."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    # They notice it by themselves.
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    # Raises for a file that is not whole.
    rows(out)
    return process.returncode == -signal.SIGKILL


def await_file(path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Returns when the file is there; fails if the run ends before."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.parametrize("file", ["plan.json", "part-000000.parquet"])
def test_killed_run_goes_on(
    workspace: Path, many: Path, undisturbed: Path, tmp_path: Path, file: str
) -> None:
    out = tmp_path / "out"
    process = start(workspace, str(many), "--out", str(out))
    await_file(out / file, process)
    assert kill(process, out)
    assert not (out / "run.json").exists()
    done = score(workspace, str(many), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert files(out) == files(undisturbed)


# Ten starts take half a minute; test_killed_run_goes_on has two.
@pytest.mark.slow
def test_ten_kills_at_random_moments(workspace: Path, many: Path, undisturbed: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    score(workspace, str(many), "--out", str(tmp_path / "timed"))
    seconds = time.monotonic() - began
    moments = random.Random(5)
    killed = 0
    for number in range(10):
        out = tmp_path / f"out-{number // 2}"
        process = start(workspace, str(many), "--out", str(out))
        time.sleep(moments.uniform(0, seconds))
        killed += kill(process, out)
        if number % 2:
            assert score(workspace, str(many), "--out", str(out)).returncode == 0
            assert files(out) == files(undisturbed)
    # The others had just ended.
    assert killed >= 7


def test_finished_parts_are_not_scored_again(
    workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    (out / "part-000001.parquet").unlink()
    # As after a power failure on a file system that does not keep the order of writes.
    damaged = out / "part-000002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    # A killed run's; that number is of no process.
    (out / ".part-000001.parquet.4194999.tmp").write_bytes(b"half")
    done = score(workspace, str(many), "--out", str(out))
    assert done.returncode == 0
    assert f"{IMAGES - 1000:,} images scored" in done.stderr
    assert "1,000 were finished before" in done.stderr
    assert files(out) == files(undisturbed)


def test_shards_make_the_same_result(workspace: Path, many: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert score(workspace, str(many), "--out", str(out), "--shard", "2/2").returncode == 0
    assert sorted(files(out)) == ["part-000001.parquet", "plan.json"]
    done = score(workspace, str(many), "--out", str(out), "--shard", "1/2")
    assert done.returncode == 0
    assert files(out) == files(undisturbed)


@pytest.mark.parametrize("change", ["list", "options"])
def test_parts_of_two_runs_are_not_mixed(
    workspace: Path, many: Path, undisturbed: Path, tmp_path: Path, change: str
) -> None:
    before = files(undisturbed)
    source = str(many / "0") if change == "list" else str(many)
    done = score(
        workspace, source, "--out", str(undisturbed), *(["--explain"] if change == "options" else [])
    )
    assert done.returncode == 1
    assert "another run" in done.stderr
    assert ("images: 2300, and now 1000" if change == "list" else "explain") in done.stderr
    assert files(undisturbed) == before


def test_parts_of_two_versions_of_a_package_are_not_mixed(
    workspace: Path, many: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    plan = (out / "plan.json").read_text()
    (out / "plan.json").write_text(re.sub(r'("pillow": )"[^"]+"', r'\1"1.0"', plan))
    done = score(workspace, str(many), "--out", str(out))
    assert done.returncode == 1
    assert '"pillow": "1.0"' in done.stderr


def test_image_that_kills_its_worker_is_a_row(workspace: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(300):
        (photos / f"{number}.png").write_bytes(one_colour_png(COLOURS["red"]))
    (photos / KILLER).write_bytes(one_colour_png(COLOURS["blue"]))
    out = tmp_path / "out"
    done = score(workspace, str(photos), "--out", str(out), env=with_killer(tmp_path))
    assert done.returncode == 0, done.stderr
    found = {row["path"]: row["label"] or row["error_code"] for row in rows(out)}
    assert found.pop(KILLER) == "worker_killed"
    assert list(found.values()) == ["red"] * 300
    # The next run has no such fault.
    done = score(workspace, str(photos), "--out", str(out), "--retry")
    assert "301 images scored" in done.stderr
    assert {row["path"]: row["label"] for row in rows(out)}[KILLER] == "blue"
    assert json.loads((out / "run.json").read_text())["refused"] == 0


def test_interrupted_run_says_how_to_go_on(workspace: Path, many: Path, tmp_path: Path) -> None:
    process = start(workspace, str(many), "--out", str(tmp_path / "out"))
    await_file(tmp_path / "out/plan.json", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command goes on" in errors
    assert b"Traceback" not in errors
