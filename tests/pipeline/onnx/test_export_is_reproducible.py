"""Exports of the same model have the same bytes, and Keras and ONNX agree."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from pipeline.network import architectures, keras_archive
from pipeline.network.backend import keras
from pipeline.network.training import Batches, Dataset
from pipeline.onnx import keras_to_onnx
from pipeline.params import Augment, Scratch, Training
from pipeline.stages.export import MAX_GOLDEN_BYTES, golden_candidates, rounds_safely

SETTINGS = Scratch(
    method="scratch",
    size=32,
    crop=1.0,
    alpha=0.35,
    momentum=0.9,
    seed=1,
    batch=8,
    dropout=0.2,
    class_weights="none",
    augment=Augment(shift=0.1, flip=True),
    training=Training(epochs=1, learning_rate=0.001),
)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8) // np.arange(
    1, 7, dtype=np.uint8
).reshape(6, 1, 1, 1)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network whose outputs differ between images, which those of a new one hardly do."""
    keras.utils.set_random_seed(1)
    made = architectures.build_scratch(SETTINGS, classes=4)
    # Lets BatchNorm learn the statistics of the images; in training mode it uses those of each batch.
    for _ in range(40):
        made(IMAGES, training=True)
    return made


def test_the_keras_file_depends_on_the_model_alone(model: keras.Model) -> None:
    first, second = keras_archive.to_bytes(model), keras_archive.to_bytes(model)
    assert first == second


def test_the_keras_file_says_nothing_of_time_or_memory(model: keras.Model) -> None:
    with zipfile.ZipFile(io.BytesIO(keras_archive.to_bytes(model))) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())
        assert json.loads(archive.read("metadata.json"))["date_saved"].startswith("1980")
        assert "optimizer" not in archive.read("config.json").decode()


def test_the_keras_file_loads_and_answers_the_same(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(keras_archive.to_bytes(model))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES).numpy(), model(IMAGES).numpy())


def test_shared_objects_are_numbered_in_order() -> None:
    config = {
        "a": {"shared_object_id": 140_000_001},
        "b": [{"shared_object_id": 7}, {"shared_object_id": 140_000_001}],
    }
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with zipfile.ZipFile(io.BytesIO(keras_archive.canonicalise(target.getvalue()))) as archive:
        assert json.loads(archive.read("config.json")) == {
            "a": {"shared_object_id": 0},
            "b": [{"shared_object_id": 1}, {"shared_object_id": 0}],
        }


def test_the_onnx_file_depends_on_the_model_alone(model: keras.Model) -> None:
    # The exporter's counters continue between the two, so its own files differ.
    assert keras_to_onnx.to_bytes(model) == keras_to_onnx.to_bytes(model)


def reshaped(*targets: list[int]) -> onnx.ModelProto:
    """A graph that reshapes [N,2,1,3] to each of the shapes in turn."""
    nodes, names = [onnx.helper.make_node("Cast", ["x"], ["0"], to=onnx.TensorProto.FLOAT)], []
    for number, target in enumerate(targets):
        names.append(onnx.numpy_helper.from_array(np.array(target, dtype=np.int64), f"to{number}"))
        nodes.append(onnx.helper.make_node("Reshape", [str(number), f"to{number}"], [str(number + 1)]))
    nodes.append(onnx.helper.make_node("Softmax", [str(len(targets))], ["y"], axis=1))
    image = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["N", 2, 1, 3])
    answer = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", *targets[-1][1:]])
    opsets = [onnx.helper.make_opsetid("", keras_to_onnx.OPSET)]
    graph = onnx.helper.make_graph(nodes, "reshaped", [image], [answer], names)
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(
    "targets",
    [
        [[-1, 2, 1, 3], [-1, 6]],
        [[-1, 2, 1, 3], [-1, 2, 1, 3], [-1, 6]],
        [[-1, 6], [-1, 6]],
    ],
)
def test_a_reshape_that_changes_nothing_does_not_count(targets: list[list[int]]) -> None:
    found, expected = (keras_to_onnx.canonicalise(reshaped(*shapes)) for shapes in (targets, [[-1, 6]]))
    assert found == expected


def test_a_reshape_that_changes_something_stays() -> None:
    kept = keras_to_onnx.canonicalise(reshaped([-1, 1, 2, 3], [-1, 2, 1, 3], [-1, 6]))
    assert sum(node.op_type == "Reshape" for node in kept.graph.node) == 3
    session = onnxruntime.InferenceSession(kept.SerializeToString())
    (answers,) = session.run(None, {"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 1, 3)})
    assert answers.shape == (2, 6)


def test_the_onnx_file_has_the_contract_of_the_bundle(model: keras.Model) -> None:
    graph = onnx.load_from_string(keras_to_onnx.to_bytes(model)).graph
    (image,), (probabilities,) = graph.input, graph.output
    assert (image.name, probabilities.name) == ("image", "probabilities")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 32, 32, 3]
    assert len({node.name for node in graph.node}) == len(graph.node)


def test_predict_eager_and_onnx_agree(model: keras.Model) -> None:
    session = onnxruntime.InferenceSession(keras_to_onnx.to_bytes(model))
    (onnx_answers,) = session.run(["probabilities"], {"image": IMAGES})
    # Without `training=False`, as most callers do: Keras 3.15 could run BatchNorm in training mode here.
    for answers in (model.predict(IMAGES, verbose=0), model(IMAGES).numpy()):
        np.testing.assert_allclose(answers, onnx_answers, atol=2e-5)
    np.testing.assert_allclose(onnx_answers.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(onnx_answers, axis=0).max() > 1e-3  # and predictions differ between images


def test_photos_of_a_camera_can_be_golden(tmp_path: Path) -> None:
    # All exceed the size limit of golden images: the smallest are taken.
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(MAX_GOLDEN_BYTES + 1 + number))
    assert {path.name for path in golden_candidates(sorted(tmp_path.iterdir()))} == {
        "0.jpg",
        "1.jpg",
        "2.jpg",
    }
    (tmp_path / "small.jpg").write_bytes(b"x")
    assert [path.name for path in golden_candidates(sorted(tmp_path.iterdir()))] == ["small.jpg"]


def test_an_answer_near_the_edge_of_rounding_is_not_safe() -> None:
    assert rounds_safely(np.array([0.1231, 0.8769], dtype=np.float32))
    assert not rounds_safely(np.array([0.12351, 0.87649], dtype=np.float32))


def test_batches_are_those_of_the_seed() -> None:
    images = Dataset(IMAGES, np.arange(6))
    epochs = []
    for seed in (1, 1, 2):
        batches = Batches(images, batch=4, augment=SETTINGS.augment, seed=seed)
        epochs.append([batches[index] for index in range(len(batches))])
    np.testing.assert_array_equal(epochs[0][0][0], epochs[1][0][0])
    assert not np.array_equal(epochs[0][0][0], epochs[2][0][0])
    # Every image occurs once.
    assert sorted(np.concatenate([classes for _, classes in epochs[2]])) == list(range(6))


def test_augmentation_shifts_over_black_and_mirrors() -> None:
    white = Dataset(np.full((50, 32, 32, 3), 255, np.uint8), np.zeros(50, np.int64))
    shifted, _ = Batches(white, batch=50, augment=Augment(shift=0.25, flip=True), seed=3)[0]
    black = (shifted == 0).all(axis=(2, 3)).sum(axis=1)
    assert black.max() <= 8
    assert black.max() > 0
    still, _ = Batches(white, batch=50, augment=Augment(shift=0, flip=False), seed=3)[0]
    assert (still == 255).all()


def test_golden_images_can_be_read_everywhere(tmp_path: Path) -> None:
    """Servers without the HEIC package must be able to decode golden images."""
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert [path.name for path in golden_candidates([tmp_path / "a.jpg"])] == ["a.jpg"]
    (tmp_path / "b.heic").write_bytes(b"\xff\xd8\xff" + bytes(MAX_GOLDEN_BYTES))
    assert [path.name for path in golden_candidates(sorted(tmp_path.iterdir()))] == ["b.heic"]
