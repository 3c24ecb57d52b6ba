"""Requests that need more memory than the limit are refused, and the worker goes on."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from serving.server import memory
from tests.repo.imports import ROOT
from tests.serving.images import PHOTO, encode_image
from tests.serving.servers import publish, running

pytestmark = pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux limits it")

MB = 2**20


def limited(cgroup: Path, then: str = "") -> subprocess.CompletedProcess[str]:
    """Sets the limit in a process of its own, prints the memory used and the limit, and runs `then`."""
    code = (
        "import sys; from pathlib import Path; from serving.server import memory;"
        "print(memory._data_bytes());"
        f"print(memory.memory_limit(2, 24 * 2**20, 10, 0, 1, Path(sys.argv[1])).allow(3000)); {then}"
    )
    command = [sys.executable, "-c", code, str(cgroup)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_limit_is_the_worst_case_that_is_documented(tmp_path: Path) -> None:
    used, allowed = map(int, limited(tmp_path).stdout.split())
    images, bodies, stacks = 2 * memory.IMAGE_BYTES, 2 * 24 * MB, 10 * memory.STACK_BYTES
    assert allowed == used + images + bodies + stacks + 3000 + memory.INTERPRETER_BYTES


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_control_group_that_grants_less_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(f"{512 * MB}\n")
    assert int(limited(tmp_path).stdout.split()[1]) == int(memory.CGROUP_SHARE * 512 * MB)


def test_control_group_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    used, allowed = map(int, limited(tmp_path).stdout.split())
    assert allowed - used > 2 * memory.IMAGE_BYTES


def test_beyond_the_limit_is_a_memory_error(tmp_path: Path) -> None:
    done = limited(tmp_path, then="bytearray(2**30)")
    assert "MemoryError" in done.stderr


def test_image_that_needs_too_much_is_refused_and_others_are_answered(tmp_path: Path) -> None:
    # A limit below what the image needs. While it is decoded, another request may lack memory for its body:
    # it gets 503 `server_busy`, and its client repeats it after `Retry-After`.
    repeats = Retry(total=10, status_forcelist=[503], allowed_methods=["POST"])
    costly = encode_image(Image.new("RGBA", (4900, 4900)), "PNG", compress_level=1)
    plain = encode_image(PHOTO, "JPEG")
    with running(publish(tmp_path), slots=2, data=235 * MB) as server:
        server.session.mount("http://", HTTPAdapter(max_retries=repeats))
        worker = server.worker.pid
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda data: server.post("/predict", data=data), [costly, plain] * 10))
        assert {answer.status_code for answer in answers[1::2]} == {200}
        assert {answer.json().get("code") for answer in answers[::2]} == {"image_too_costly"}
        assert {answer.status_code for answer in answers[::2]} == {413}
        assert server.worker.pid == worker
