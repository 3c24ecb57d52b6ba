"""Every error has a stable code and, for images, an HTTP status; all stand in the drawn tree."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import errors
from serving.errors import BundleError, ImageError, ServingError

# One line of the drawing: its depth, the class, and a code or a remark.
LINE = re.compile(r"^    ((?:│|    )?) *[├└]── (\w+) +(.+)$", re.MULTILINE)


def leaves(kind: type[ServingError] = ServingError) -> Iterator[type[ServingError]]:
    """The classes that are raised."""
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    if not below:
        yield kind
    for child in below:
        yield from leaves(child)


LEAVES = list(leaves())


def test_codes_are_unique() -> None:
    codes = [leaf.code for leaf in LEAVES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("leaf", LEAVES)
def test_code_is_the_name_in_snake_case(leaf: type[ServingError]) -> None:
    assert leaf.code == re.sub(r"(?<!^)(?=[A-Z])", "_", leaf.__name__).lower()


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if issubclass(leaf, ImageError)])
def test_images_have_the_status_of_a_wrong_request(leaf: type[ImageError]) -> None:
    assert 400 <= leaf.status < 500


def test_bundles_are_never_the_clients_fault() -> None:
    assert not any(hasattr(leaf, "status") for leaf in LEAVES if issubclass(leaf, BundleError))


def test_tree_is_drawn() -> None:
    branch, drawn = "", set()
    for depth, name, rest in LINE.findall(errors.__doc__ or ""):
        if depth:
            drawn.add((branch, name, rest))
        else:
            branch = name
    assert drawn == {(leaf.__bases__[0].__name__, leaf.__name__, leaf.code) for leaf in LEAVES}


FILE = Path("models/colours/bundle/serving/model.onnx")
# What each class is given where it is raised.
SAMPLES: dict[type[ServingError], tuple[object, ...]] = {
    errors.BundleMissing: (FILE,),
    errors.ManifestInvalid: (FILE, "ValueError: no JSON"),
    errors.FileMissing: (FILE,),
    errors.FileUnexpected: (FILE,),
    errors.FileUnreadable: (FILE, "Permission denied"),
    errors.DigestMismatch: (FILE, "0" * 64, "1" * 64),
    errors.ContractBroken: (FILE, "two labels have the same name"),
    errors.GoldenMismatch: (FILE, 0.3, 0.005),
    errors.ModelMismatch: (FILE, "digits", "colours"),
    errors.PinInvalid: (FILE, "KeyError: 'digest'"),
    errors.PinMissing: (FILE, "nothing is pinned yet"),
    errors.ImageEmpty: (),
    errors.ImageTooLarge: (30_000_000, 20_000_000),
    errors.ImageUnrecognised: ("JPEG or PNG",),
    errors.ImageFormatUnsupported: ("HEIC", "JPEG or PNG"),
    errors.ImageTooManyPixels: ("9000 x 9000 pixels", "25,000,000 in all"),
    errors.ImageTooSmall: (1, 2, 8),
    errors.ImageTruncated: (),
    errors.ImageDamaged: ("broken data stream",),
}


@pytest.mark.parametrize("leaf", LEAVES)
def test_sentence_is_whole_and_holds_what_it_is_given(leaf: type[ServingError]) -> None:
    sentence = str(leaf(*SAMPLES[leaf]))
    assert re.fullmatch(r"\S[^\n]*[^.?][.?]", sentence)
    assert str(FILE) in sentence or issubclass(leaf, ImageError)
    for given in SAMPLES[leaf]:
        shown = f"{given:,}" if isinstance(given, int) else str(given)
        assert shown in sentence
