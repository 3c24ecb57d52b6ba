"""params.yaml is checked completely before any work, and errors name section and key."""

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from pipeline import params
from pipeline.errors import ModelNameInvalid, ModelUnknown, ParamsInvalid
from pipeline.model_names import is_model_name, suggest_model_name
from pipeline.project.starter_params import STARTER_SECTION, add_to_params
from tests.pipeline.projects import ROOT, TINY


def test_those_of_the_project_are_good() -> None:
    loaded = params.load(ROOT / "params.yaml")
    assert set(loaded.models) <= set(loaded.sections)
    assert isinstance(loaded.for_model("imagenet").build, params.Pretrained)


def test_the_starter_section_is_good(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"models": ["mine"], "mine": yaml.safe_load(STARTER_SECTION)}))
    assert isinstance(params.load(path).for_model("mine").build, params.Finetune)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            "min_top1: 0.0",
            "min_top: 0.0",
            ["tiny.evaluate.min_top1: Field required", "tiny.evaluate.min_top: Extra"],
        ),
        ("seed: 1", "sede: 1", ["tiny.build.seed: Field required", "tiny.build.sede: Extra"]),
        ("golden: 2", "golden: many", ["tiny.export.golden", "'many'"]),
        ("golden: 2", "golden: 0", ["tiny.export.golden", "greater than or equal to 1"]),
        ("precision: int8", "precision: int4", ["tiny.export.precision", "'int8' or 'float32'", "'int4'"]),
        ("precision: int8, ", "", ["tiny.export.precision: Field required"]),
        ("calibration: 16", "calibration: 0", ["tiny.export.calibration", "greater than or equal to 1"]),
        ("max_quantisation_loss: 1.0", "max_quantisation_loss: 50", ["tiny.evaluate.max_quantisation_loss"]),
        ("method: scratch", "method: magic", ["tiny.build", "'magic'"]),
        ("test: 0.3", "test: 0.0", ["tiny.prepare.test", "greater than 0"]),
        ("seed: 1", "seed: 99999999999", ["tiny.build.seed"]),
        ("valid: 0.1, test: 0.3", "valid: 0.5, test: 0.5", ["tiny", "no image to train"]),
        ("models: [tiny]", "models: [tiny, tiny]", ["tiny is listed twice"]),
        ("test: 0.3", "test: 1.3", ["tiny.prepare.test", "less than or equal to 1"]),
        ("epochs: 1", "epochs: 1.5", ["tiny.build.training.epochs"]),
        ("epochs: 1", 'epochs: "1"', ["tiny.build.training.epochs"]),
        ("models: [tiny]", "models: [tiny, giant]", ["giant has no section"]),
        ("models: [tiny]", "modles: [tiny]", ["models: missing"]),
        ("models: [tiny]", "models: [../etc]", ["models.0"]),
        ("  register: {description: A model for tests.}", "", ["tiny.register: Field required"]),
        ("batch: 16", "batch: [16", ["params.yaml"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, before: str, after: str, named: list[str]) -> None:
    path = tmp_path / "params.yaml"
    assert before in TINY
    path.write_text(TINY.replace(before, after))
    with pytest.raises(ParamsInvalid) as error:
        params.load(path)
    for words in named:
        assert words in str(error.value)


# Numbers as DVC parses them; PyYAML would read some of them as strings or as octal.
@pytest.mark.parametrize(
    ("written", "number"),
    [
        *[
            ("3e-3", 0.003),
            ("1e-3", 0.001),
            ("1E-5", 0.00001),
            (".5e-2", 0.005),
            ("+1e0", 1.0),
            ("1e3", 1000.0),
        ],
        *[("1.5e-3", 0.0015), ("5.", 5.0), ("017", 17.0), ("0o17", 15.0), ("1_000", 1000.0), ("1_0.5", 10.5)],
    ],
)
def test_a_number_is_what_dvc_takes_it_for(tmp_path: Path, written: str, number: float) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TINY.replace("learning_rate: 0.001", f"learning_rate: {written}"))
    build = params.load(path).for_model("tiny").build
    assert isinstance(build, params.Scratch)
    assert build.training.learning_rate == number
    seen = parse_yaml(path.read_text(), path)
    assert seen["tiny"]["build"]["training"]["learning_rate"] == number


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            "learning_rate: 0.001",
            "learning_rate: 1:30",
            ["training.learning_rate", "'1:30'", "write a number"],
        ),
        ("learning_rate: 0.001", "learning_rate: .5e2", ["'.5e2'", "write 50"]),
        ("learning_rate: 0.001", 'learning_rate: "3e-3"', ["'3e-3'", "write 0.003"]),
        ("learning_rate: 0.001", "learning_rate: .inf", ["learning_rate", "finite number"]),
        ("learning_rate: 0.001", "learning_rate: 1e400", ["learning_rate", "finite number"]),
        ("learning_rate: 0.001", "learning_rate: .nan", ["learning_rate"]),
        ("learning_rate: 0.001", "learning_rate: 0x_", ["params.yaml", "base 16"]),
        ("epochs: 1", "epochs: 1e1", ["training.epochs", "write 10"]),
        ("flip: true", "flip: yes", ["augment.flip", "'yes'", "write true or false"]),
        ("flip: true", "flip: off", ["augment.flip", "'off'", "write true or false"]),
        ("A model for tests.", "1e3", ["register.description", "1000.0", "quotes"]),
        ("A model for tests.", "null", ["register.description", "None", "quotes"]),
        ("A model for tests.", "2024-05-01", ["register.description", "2024", "quotes"]),
        ("A model for tests.", "2024-13-01", ["params.yaml", "month must be in 1..12"]),
        ("A model for tests.", "true", ["register.description", "True", "quotes"]),
        ("class_weights: none", "class_weights: null", ["build.class_weights", "None", "quotes"]),
        ("models: [tiny]", "models: [1e3]", ["models.0", "1000.0", "quotes"]),
        ("models: [tiny]", "models: [null]", ["models.0", "None", "quotes"]),
        ("tiny:\n", "no:\n", ["no: is no name for a model"]),
        ("batch: 16", "batch: 16\n    batch: 32", ["line 13", 'duplicate key "batch"']),
        ("batch: 16", "batch: !!python/name:os.system", ["params.yaml", "line 12"]),
        ("batch: 16", f"batch: {'[' * 5000}", ["nested too deeply"]),
    ],
)
def test_what_yaml_takes_for_something_else_is_told(
    tmp_path: Path, before: str, after: str, named: list[str]
) -> None:
    path = tmp_path / "params.yaml"
    assert before in TINY
    path.write_text(TINY.replace(before, after))
    with pytest.raises(ParamsInvalid) as error:
        params.load(path)
    for words in named:
        assert words in str(error.value)
    assert "http" not in str(error.value)


@pytest.mark.parametrize("text", ["no", "on", "Yes", "off", "y"])
def test_a_word_is_a_word(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TINY.replace("A model for tests.", text))
    assert params.load(path).for_model("tiny").register_.description == text


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TINY.replace("golden: 2", "golden: 0").replace("batch: 16", "batch: 0"))
    with pytest.raises(ParamsInvalid, match=r"(?s)tiny\.build\.batch.*tiny\.export\.golden"):
        params.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid, match=r"params\.yaml"):
        params.load(tmp_path / "params.yaml")


def test_an_unknown_model_is_told_how_to_become_known() -> None:
    with pytest.raises(ModelUnknown, match="data/raw/unicorns"):
        params.load(ROOT / "params.yaml").for_model("unicorns")


def test_fractions_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(TINY.replace("valid: 0.1, test: 0.3", "valid: 0.6, test: 0.6"))
    with pytest.raises(ParamsInvalid, match=r"tiny\.prepare.*more than 1"):
        params.load(path)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Pets", "pets"),
        ("my pets", "my-pets"),
        ("my.pets", "my-pets"),
        ("p\u00e4ts", "pats"),
        ("1pets", "model-1pets"),
        ("\u732b", "model"),
        ("stra\u00dfe", "strasse"),
        ("../etc", "etc"),
        ("data/raw/pets/", "pets"),
        ("models", "model-models"),
        ("yes", "model-yes"),
        ("-x-", "x"),
        ("", "model"),
        ("/etc", "etc"),
        ("x" * 80, "x" * 57),
        ("pets;rm -rf ~", "pets-rm-rf"),
    ],
)
def test_a_name_that_is_not_allowed_gets_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suggested: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    Path("data/raw").mkdir(parents=True)
    assert is_model_name(suggest_model_name(name))
    for act in (add_to_params, params.load().for_model):
        with pytest.raises(ModelNameInvalid) as error:
            act(name)
        for words in ("a to z, 0 to 9, - and _", f"Call it {suggested}:", f"make run MODEL={suggested}`"):
            assert words in str(error.value)
    assert Path("params.yaml").read_text() == TINY


def test_photos_under_a_name_that_is_not_allowed_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    Path("data/raw/My Pets/cat").mkdir(parents=True)
    with pytest.raises(ModelNameInvalid, match="`mv 'data/raw/My Pets' data/raw/my-pets` and `make run"):
        add_to_params("My Pets")


def test_a_section_with_such_a_name_is_told_the_same(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(TINY.replace("tiny", "Tiny"))
    with pytest.raises(ParamsInvalid, match="Call it tiny"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("Pets/cat", "data/raw/Pets is there: rename it, to data/raw/pets/"),
        ("my pets/cat", None),
        ("pets.zip", "data/raw/pets.zip is there: unpack it, to data/raw/pets/"),
        ("pets", "data/raw/pets is there: unpack it"),
        ("pets.dvc", "`dvc pull data/raw/pets.dvc` fetches its photos."),
        ("pets.txt", None),
    ],
)
def test_photos_under_almost_its_name_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, words: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TINY)
    path = Path("data/raw", there)
    path.parent.mkdir(parents=True)
    path.touch() if "/" not in there else path.mkdir()
    with pytest.raises(ModelUnknown) as error:
        add_to_params("pets")
    assert ("is there" in str(error.value)) is (words is not None)
    assert words is None or words in str(error.value)
