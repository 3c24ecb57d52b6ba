"""The error names what a project lacks, and the same photos are selected every time."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.errors import ProjectIncomplete
from benchmarks.serving import __main__ as comparison
from benchmarks.serving import sweep
from benchmarks.serving.project import (
    ACCURACY_PHOTOS,
    EIGHT_BIT,
    FLOAT,
    LAYOUT,
    LOAD_PHOTOS,
    ServedBundle,
    evenly_spaced,
    find_project,
)
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.artifact.pin import Pin
from tests.serving.bundles import onnx_graph, write_bundle


def test_photos_are_selected(colours: Path) -> None:
    project = find_project(colours)
    assert len(project.accuracy_photos) == ACCURACY_PHOTOS
    assert len(project.load_photos) == LOAD_PHOTOS
    assert {photo.actual for photo in project.accuracy_photos} == {0, 1, 2}
    assert find_project(colours) == project


def test_a_bundle_with_a_float_graph_beside_its_own_serves_8_bit(colours: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "eight", "imagenet", extra={FLOAT_GRAPH: onnx_graph()})
    eight_bit = ServedBundle.open(tmp_path / "eight")
    project = find_project(colours)
    project = replace(project, bundles=(eight_bit, *project.bundles))
    assert [bundle.precision for bundle in project.bundles] == [EIGHT_BIT, FLOAT]
    assert project.reference == project.bundles[1]
    assert project.bundles[0].float_graph.relative_to(tmp_path / "eight") == Path(FLOAT_GRAPH)
    assert project.bundles[1].float_graph.relative_to(colours / LAYOUT.bundle) == Path(GRAPH)


def remove_bundle(root: Path) -> None:
    shutil.rmtree(root / LAYOUT.bundle)


def remove_pin(root: Path) -> None:
    (root / LAYOUT.pin).unlink()


def replace_pin(root: Path) -> None:
    (root / LAYOUT.pin).write_bytes(Pin("imagenet", 1, "0" * 64).to_bytes())


def remove_photos(root: Path) -> None:
    shutil.rmtree(root / LAYOUT.test / "c0")


@pytest.mark.parametrize("damage", [remove_bundle, remove_pin, replace_pin, remove_photos])
def test_the_error_says_what_to_run(colours: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    root = tmp_path / "project"
    shutil.copytree(colours, root)
    damage(root)
    with pytest.raises(ProjectIncomplete, match="run `make run MODEL=imagenet` first"):
        find_project(root)


@pytest.mark.parametrize("command", [comparison.main, sweep.main])
def test_the_commands_print_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], int]
) -> None:
    assert command(["--project", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_files_are_evenly_spaced() -> None:
    files = [Path(str(number)) for number in range(10)]
    assert evenly_spaced(files, 5) == files[::2]
    assert evenly_spaced(files, 20) == files
