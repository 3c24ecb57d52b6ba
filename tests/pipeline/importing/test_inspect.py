"""`inspect` finds on photos how a model wants its pixels, and changes nothing unless it is asked to."""

from pathlib import Path

import pytest
import yaml

from pipeline.environment import Environment
from pipeline.errors import ImportRefused, LabelsInvalid, LabelsUnmatched, SizeUndeclared
from pipeline.importing import inspection_text, project_entry
from pipeline.importing.inspection import Inspection, Request, inspect
from pipeline.network.backend import keras
from pipeline.params import Params, load
from tests.pipeline.importing import brought_models
from tests.pipeline.importing.brought_models import COLOURS, GREYS, TWO, write_photos
from tests.pipeline.projects import Project


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), COLOURS, 8)


def save(model: keras.Model, folder: Path, name: str = "my_model.keras") -> Path:
    model.save(folder / name)
    return folder / name


def look(file: Path, photos: Path | None = None, labels: Path | None = None, **options: object) -> Inspection:
    environment = Environment(None, file.parent, experiment=False)
    return inspect(Request(file, photos, labels, **options), environment)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factor", "offset", "channels", "scale"),
    [
        (1 / 127.5, -1.0, "RGB", [-1, 1]),
        (1 / 127.5, -1.0, "BGR", [-1, 1]),
        (1 / 255, 0.0, "RGB", [0, 1]),
        (1.0, 0.0, "BGR", "none"),
    ],
)
def test_scale_and_channels_are_found(
    tmp_path: Path, photos: Path, factor: float, offset: float, channels: str, scale: object
) -> None:
    found = look(save(brought_models.without_preprocessing(factor, offset, channels), tmp_path), photos)
    assert (found.best.scale, found.best.channels, found.head) == (scale, channels, "softmax")
    assert found.scale_trials[0].top1 == 1
    assert found.labels is not None
    assert [label.name for label in found.labels] == list(COLOURS)


@pytest.mark.parametrize(("each", "stratified"), [(4, False), (5, True)])
def test_classes_of_few_photos_are_not_stratified(tmp_path: Path, each: int, stratified: bool) -> None:
    """A fifth of four photos is none, and 8 bits need some to calibrate with."""
    photos = write_photos(tmp_path / "photos", COLOURS, each)
    found = look(save(brought_models.tutorial_classifier(), tmp_path), photos)
    section = yaml.safe_load(project_entry.section_of(found))
    assert section["prepare"]["stratify"] is stratified


def test_layers_in_the_file_are_one_of_the_ways(tmp_path: Path, photos: Path) -> None:
    found = look(save(brought_models.tutorial_classifier(), tmp_path), photos)
    assert (found.best.scale, found.head) == ("inside", "logits")
    printed = "\n".join(inspection_text.describe_inspection(found))
    assert "pixels 0 to 255 become 0 to 1" in printed
    assert "RandomFlip" in printed


def test_a_wrong_scale_in_the_file_is_found(tmp_path: Path, photos: Path) -> None:
    """The tutorial's mistake: Rescaling(1/255) before a network that was trained on pixels from -1 to 1."""
    found = look(save(brought_models.wrong_scale_inside(), tmp_path), photos)
    assert found.best.scale == [-1, 1]
    inside = next(trial for trial in found.scale_trials if trial.declaration.scale == "inside")
    assert inside.top1 < 0.8 < found.scale_trials[0].top1
    layer = found.description.resize
    assert layer is not None
    assert (layer.filter, layer.antialias, layer.height) == ("lanczos", False, 48)


@pytest.mark.parametrize(("activation", "head"), [("sigmoid", "sigmoid"), (None, "logit")])
def test_two_classes_in_one_column(tmp_path: Path, activation: str | None, head: str) -> None:
    photos = write_photos(tmp_path / "photos", TWO, 15)
    file = save(brought_models.cats_and_dogs(activation), tmp_path)
    found = look(file, photos)
    assert (found.head, found.best.scale, found.label_order) == (head, "inside", None)
    (tmp_path / "labels.txt").write_text("white\nblack\n")
    turned = look(file, photos, tmp_path / "labels.txt")
    assert turned.label_order is not None
    assert [label.name for label in turned.labels or ()] == ["black", "white"]
    assert turned.resize_trials[0].top1 == 1


def test_one_channel(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", GREYS, 8)
    found = look(save(brought_models.without_preprocessing(1 / 255, 0.0, "grey", 28), tmp_path), photos)
    assert (found.best.scale, found.best.channels) == ([0, 1], "grey")
    assert found.best.preprocessing.shape == (28, 28, 1)


def test_without_photos_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    found = look(save(brought_models.without_preprocessing(1 / 255, 0.0), tmp_path))
    printed = "\n".join(inspection_text.describe_inspection(found))
    assert "Nothing could be measured without labels" in printed
    assert "guess" in printed
    assert found.scale_trials == found.resize_trials == []


def test_a_network_of_any_size_needs_one(tmp_path: Path, photos: Path) -> None:
    image = keras.Input((None, None, 3))
    means = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, brought_models.nearest_colour(COLOURS)(means))
    file = save(model, tmp_path)
    with pytest.raises(SizeUndeclared, match="--size"):
        look(file, photos)
    assert look(file, photos, size=(40, 60)).best.preprocessing.shape == (40, 60, 3)


def test_folders_must_have_labels_and_labels_must_fit(tmp_path: Path, photos: Path) -> None:
    file, labels = save(brought_models.without_preprocessing(1 / 255, 0.0), tmp_path), tmp_path / "labels.txt"
    labels.write_text("black\nblue\ngreen\nred\nwhite\n")
    with pytest.raises(LabelsUnmatched, match="grey"):
        look(file, photos, labels)
    labels.write_text("black\nblue\n")
    with pytest.raises(LabelsInvalid, match="2 labels"):
        look(file, photos, labels)


def test_a_photo_that_cannot_be_read_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_photos(tmp_path / "photos", COLOURS, 3)
    (photos / "red/00.png").write_bytes(b"no image")
    look(save(brought_models.without_preprocessing(1 / 255, 0.0), tmp_path), photos)
    assert "passed over" in capsys.readouterr().out


def test_write_adds_files_and_section_once(tmp_path: Path, photos: Path, project: Project) -> None:
    """The files are copied into data/raw, and the section is one that params.yaml accepts."""
    source = save(brought_models.without_preprocessing(1 / 127.5, -1.0), tmp_path, "Farben 2.keras")
    found = look(source, photos)
    name = project_entry.default_name(source)
    assert name == "farben-2"
    lines = project_entry.add_to_project(found, name)
    raw = project.root / "data/raw/farben-2"
    assert {path.name for path in raw.iterdir()} == {*COLOURS, "Farben 2.keras", "labels.json"}
    assert (raw / "Farben 2.keras").read_bytes() == source.read_bytes()
    params: Params = load()
    assert params.models == ("tiny", "farben-2")
    build = params.for_model("farben-2").build
    assert (build.method, build.model, build.scale) == ("import", "Farben 2.keras", [-1, 1])  # type: ignore[union-attr]
    assert any("labels.json: 5 names" in line for line in lines)
    with pytest.raises(ImportRefused, match="has a section"):
        project_entry.add_to_project(found, name)


def test_nothing_is_overwritten(tmp_path: Path, photos: Path, project: Project) -> None:
    found = look(save(brought_models.without_preprocessing(1 / 127.5, -1.0), tmp_path), photos)
    other = project.root / "data/raw/mine/my_model.keras"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another model")
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ImportRefused, match="is another file"):
        project_entry.add_to_project(found, "mine")
    assert other.read_bytes() == b"another model"
    assert Path("params.yaml").read_bytes() == before
    assert "mine" not in yaml.safe_load(before)
