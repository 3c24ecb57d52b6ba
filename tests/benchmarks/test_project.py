"""A project that lacks something is answered with a sentence, and photos are chosen alike every time."""

import shutil
from pathlib import Path

import pytest

from benchmarks.serving.__main__ import main
from benchmarks.serving.errors import ProjectIncomplete
from benchmarks.serving.project import ASKED, EIGHT, FLOAT, FLOAT_GRAPH, LAYOUT, SENT, find, spread
from serving.artifact.manifest import GRAPH
from serving.artifact.pin import Pin
from tests.serving.bundles import graph, write_bundle


def test_photos_are_chosen(colours: Path) -> None:
    project = find(colours)
    assert len(project.asked) == ASKED
    assert len(project.sent) == SENT
    assert {photo.actual for photo in project.asked} == {0, 1, 2}
    assert find(colours) == project


def test_a_bundle_with_a_float_graph_beside_its_own_serves_8_bit(colours: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "eight", "imagenet", extra={FLOAT_GRAPH: graph()})
    project = find(colours, [tmp_path / "eight"])
    assert [served.precision for served in project.bundles] == [FLOAT, EIGHT]
    assert project.reference == project.default
    assert project.bundles[0].float_graph.relative_to(colours / LAYOUT.bundle) == Path(GRAPH)
    assert project.bundles[1].float_graph.relative_to(tmp_path / "eight") == Path(FLOAT_GRAPH)


def _no_bundle(root: Path) -> None:
    shutil.rmtree(root / LAYOUT.bundle)


def _no_pin(root: Path) -> None:
    (root / LAYOUT.pin).unlink()


def _other_pin(root: Path) -> None:
    (root / LAYOUT.pin).write_bytes(Pin("imagenet", 1, "0" * 64).to_bytes())


def _few_photos(root: Path) -> None:
    shutil.rmtree(root / LAYOUT.test / "c0")


@pytest.mark.parametrize("damage", [_no_bundle, _no_pin, _other_pin, _few_photos])
def test_what_is_missing_is_said(colours: Path, tmp_path: Path, damage: object) -> None:
    root = tmp_path / "project"
    shutil.copytree(colours, root)
    assert callable(damage)
    damage(root)
    with pytest.raises(ProjectIncomplete, match="run `make run MODEL=imagenet` first"):
        find(root)


def test_the_command_ends_with_the_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_files_are_spread_evenly() -> None:
    files = [Path(str(number)) for number in range(10)]
    assert spread(files, 5) == files[::2]
    assert spread(files, 20) == files
