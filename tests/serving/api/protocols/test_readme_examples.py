"""The commands in the documentation of the protocols work."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo.imports import ROOT
from tests.serving.bundles import COLOURS, one_colour_png
from tests.serving.servers import Server

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.search(r"### Protocols\n.*?```sh\n(.*?)```", README, re.DOTALL)
LINES = BLOCK[1].splitlines() if BLOCK else []
COMMANDS = [line for line in LINES if line.startswith("curl")]


def test_there_is_a_line_for_each_protocol() -> None:
    assert len(COMMANDS) == len(LINES) - 1 == 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("line", COMMANDS)
def test_line_works(protocol_server: Server, tmp_path: Path, line: str) -> None:
    (tmp_path / "digit.png").write_bytes(one_colour_png(COLOURS["red"]))
    here = line.replace("localhost:5000", protocol_server.url).replace("models/digits", "models/colours")
    script = "\n".join(["digit=digit.png", LINES[0], here.replace("curl ", "curl -s ", 1)])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    response = json.loads(done.stdout)
    assert "0.96" in json.dumps(response)
    assert "error" not in done.stdout
