"""The error names what a project lacks, and the same photos are selected every time."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.errors import ProjectIncomplete
from benchmarks.serving import __main__ as comparison
from benchmarks.serving import sweep
from benchmarks.serving.contenders import OURS, Contender
from benchmarks.serving.project import (
    ACCURACY_PHOTOS,
    EIGHT_BIT,
    FLOAT,
    LAYOUT,
    LOAD_PHOTOS,
    Project,
    ServedBundle,
    evenly_spaced,
    find_project,
)
from benchmarks.serving.selection import small_model_contenders
from pipeline.layout import Layout
from serving.artifact.manifest import FLOAT_GRAPH, GRAPH
from serving.artifact.pin import Pin
from tests.serving.bundles import COLOURS, one_colour_png, onnx_graph, write_bundle


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


def test_another_model_is_read(colours: Path, tmp_path: Path) -> None:
    layout = Layout("digits")
    (tmp_path / layout.bundle).parent.mkdir(parents=True)
    (tmp_path / layout.test).parent.mkdir(parents=True)
    (tmp_path / layout.bundle).symlink_to(colours / LAYOUT.bundle)
    (tmp_path / layout.test).mkdir()
    with pytest.raises(ProjectIncomplete, match=r"pins nothing.*run `make run MODEL=digits` first"):
        find_project(tmp_path, layout)
    (tmp_path / layout.pin).parent.mkdir()
    digest = ServedBundle.open(colours / LAYOUT.bundle).digest
    (tmp_path / layout.pin).write_bytes(Pin("digits", 1, digest).to_bytes())
    with pytest.raises(ProjectIncomplete, match="holds 0 photos"):
        find_project(tmp_path, layout)
    write_small_photos(tmp_path / layout.test)
    project = find_project(tmp_path, layout)
    # None of them has the size of a photo, so any are sent.
    assert len(project.load_photos) == LOAD_PHOTOS
    # The last one has the Python of the image.
    assert [contender.variables["GOLDFISH_WORKERS"] for contender in ours(project)] == ["1", "0", "0"]


def write_small_photos(folder: Path) -> None:
    for number in range(ACCURACY_PHOTOS):
        path = folder / f"c{number % len(COLOURS)}" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(one_colour_png((number, 0, 0)))


def ours(project: Project) -> list[Contender]:
    rows = small_model_contenders(project, 1.0)
    assert len({row.name for row in rows}) == len(rows)
    return [row for row in rows if row.kind == OURS]


def test_a_quick_run_is_for_imagenet(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        comparison.main(["--project", str(colours), "--quick", "--model", "digits"])
    assert "--quick measures imagenet only" in capsys.readouterr().err


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
