"""Images and results in an object store."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.scoring.object_store import Store, running_store
from tests.scoring.workspace import environment, score
from tests.serving.bundles import COLOURS, one_colour_png


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with the bucket `bucket` and three images in it."""
    with running_store() as store:
        store.objects = {
            "photos/red.png": one_colour_png(COLOURS["red"]),
            "photos/a/blue 1+\u00fc%.png": one_colour_png(COLOURS["blue"]),
            "photos/secret/green.png": one_colour_png(COLOURS["green"]),
            # As a bucket's web page makes folders.
            "photos/a/": b"",
        }
        yield store


def settings(store: Store) -> dict[str, str]:
    """The environment of a run that uses the store."""
    # Without a checksum after the body, which needs an encoding of its own.
    plain = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "us-east-1"}
    return environment() | plain | keys | {"AWS_ENDPOINT_URL": store.url}


def test_folder_is_scored_and_the_run_goes_on(workspace: Path, store: Store) -> None:
    store.denied = {"photos/secret/"}
    command = ("s3://bucket/photos", "--out", "s3://bucket/out")
    done = score(workspace, *command, env=settings(store))
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(io.BytesIO(store.objects["out/part-000000.parquet"])).to_pylist()
    assert {row["path"]: row["label"] or row["error_code"] for row in table} == {
        "red.png": "red",
        "a/blue 1+\u00fc%.png": "blue",
        "secret/green.png": "file_unreadable",
    }
    before = dict(store.objects)
    done = score(workspace, *command, env=settings(store))
    assert "3 were finished before" in done.stderr
    assert store.objects == before


@pytest.mark.parametrize(
    ("source", "out", "expected"),
    [
        # A folder that cannot be listed is not an empty one.
        ("s3://bucket/denied", "s3://bucket/out", "ACCESS_DENIED"),
        ("s3://bucket/photos", "s3://bucket/denied", "ACCESS_DENIED"),
        ("s3://bucket/photos", "s3://", "no bucket"),
    ],
)
def test_what_the_store_refuses_ends_the_run(
    workspace: Path, store: Store, source: str, out: str, expected: str
) -> None:
    store.denied = {"denied"}
    done = score(workspace, source, "--out", out, env=settings(store))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert not any(key.startswith("out/part") for key in store.objects)
