"""Files that try to run code, to read or write other files, or to take all memory when they are opened.

Each of the first kind would leave a marker file if it succeeded. The kinds are those of published weaknesses
of Keras: CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9906, CVE-2026-0897, CVE-2026-1462 and others.
"""

import base64
import io
import json
import marshal
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.errors import CustomClassesMissing, ModelFileInvalid, ModelFileUnsafe, PipelineError
from pipeline.model_files.opening import open_model_file
from pipeline.network.backend import keras, saved_model_pb2, tf

layers = keras.layers
Config = dict[str, Any]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras file with nothing wrong, which the tests change."""
    path = tmp_path_factory.mktemp("honest") / "model.keras"
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2),
        ]
    )
    model.save(path)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that exists if code of a model file has run. It must not."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def rewritten(source: Path, target: Path, change: Callable[[Config], None]) -> Path:
    """A copy of a Keras file with another configuration."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as written:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            written.writestr(name, data)
    return target


def convolution(config: Config) -> Config:
    """The configuration of the convolution in it."""
    found: Config = config["config"]["layers"][1]
    return found


def lambda_layer(marker: Path) -> Config:
    """A Lambda layer whose function writes the marker (CVE-2024-3660)."""
    code = compile(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]", "model", "eval").co_consts[0]
    value = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": value, "defaults": None, "closure": None}}
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"name": "hidden", "function": function, "arguments": {}},
        "registered_name": None,
    }


def reference(module: str, name: str) -> Config:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def as_activation(value: object) -> Callable[[Config, Path], None]:
    return lambda config, marker: convolution(config)["config"].update(activation=value)


def insert(layer: Callable[[Path], Config]) -> Callable[[Config, Path], None]:
    return lambda config, marker: config["config"]["layers"].insert(1, layer(marker))


def object_of(module: str, class_name: str, **config: object) -> Config:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def in_a_wrapper(config: Config, marker: Path) -> None:
    wrapper = object_of("keras.layers", "TimeDistributed", name="outer", layer=lambda_layer(marker))
    config["config"]["layers"].insert(1, wrapper)


def in_a_nested_model(config: Config, marker: Path) -> None:
    nested = object_of("keras", "Sequential", name="nested", layers=[lambda_layer(marker)])
    config["config"]["layers"].insert(1, nested)


def in_an_initializer(config: Config, marker: Path) -> None:
    convolution(config)["config"]["kernel_initializer"] = object_of(
        "subprocess", "Popen", args=["touch", str(marker)]
    )


def under_a_registered_name(config: Config, marker: Path) -> None:
    layer = convolution(config)
    layer["registered_name"] = "os>system"


def by_the_name_of_a_lambda(config: Config, marker: Path) -> None:
    layer = lambda_layer(marker)
    layer["class_name"], layer["registered_name"] = "Dense", "Lambda"
    config["config"]["layers"].insert(1, layer)


def switching_safe_mode_off(config: Config, marker: Path) -> None:
    """CVE-2025-9906: the configuration calls Keras's own switch, and then a Lambda."""
    convolution(config)["config"]["activation"] = reference("keras.config", "enable_unsafe_deserialization")
    config["config"]["layers"].insert(2, lambda_layer(marker))


ATTEMPTS: dict[str, Callable[[Config, Path], None]] = {
    "lambda": insert(lambda_layer),
    "lambda in a wrapper": in_a_wrapper,
    "lambda in a nested model": in_a_nested_model,
    "lambda under another class": by_the_name_of_a_lambda,
    "lambda as an activation": lambda config, marker: convolution(config)["config"].update(
        activation=lambda_layer(marker)["config"]["function"]
    ),
    "safe mode off": switching_safe_mode_off,
    # CVE-2025-1550: any function of any module.
    "os.system": as_activation(reference("os", "system")),
    "builtins.exec": as_activation(reference("builtins", "exec")),
    # CVE-2025-8747: a function of Keras that downloads a file.
    "get_file": as_activation(reference("keras.utils", "get_file")),
    "load_model": as_activation(reference("keras.saving", "load_model")),
    "an initializer": in_an_initializer,
    "a registered name": under_a_registered_name,
    # CVE-2026-1462: another model is loaded.
    "TFSMLayer": insert(
        lambda marker: object_of("keras.layers", "TFSMLayer", filepath=str(marker), name="x")
    ),
    "TorchModuleWrapper": insert(lambda marker: object_of("keras.layers", "TorchModuleWrapper", name="x")),
    "JaxLayer": insert(lambda marker: object_of("keras.layers", "JaxLayer", call_fn=None, name="x")),
    "FlaxLayer": insert(lambda marker: object_of("keras.layers", "FlaxLayer", name="x")),
    # CVE-2025-12058: a vocabulary is read from a path or an address.
    "StringLookup": insert(
        lambda marker: object_of("keras.layers", "StringLookup", vocabulary="/etc/passwd", name="x")
    ),
    "a class inside Keras": insert(
        lambda marker: object_of("keras.src.export.saved_model", "ExportArchive", name="x")
    ),
    "a type": as_activation({"class_name": "__typespec__", "config": [], "spec_name": "x", "module": "os"}),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_keras_file_that_tries(honest: Path, tmp_path: Path, marker: Path, attempt: str) -> None:
    hostile = rewritten(honest, tmp_path / "model.keras", lambda config: ATTEMPTS[attempt](config, marker))
    with pytest.raises(ModelFileUnsafe, match="none of it was run"):
        open_model_file(hostile)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_hdf5_file_that_tries(honest: Path, tmp_path: Path, marker: Path, attempt: str) -> None:
    """The same in HDF5, where Keras's own loader has no safe mode."""
    with zipfile.ZipFile(honest) as archive:
        config = json.loads(archive.read("config.json"))
    ATTEMPTS[attempt](config, marker)
    for version in ("2.15.0", "3.15.1"):
        with h5py.File(tmp_path / "model.h5", "w") as file:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = version
        with pytest.raises(ModelFileUnsafe, match="none of it was run"):
            open_model_file(tmp_path / "model.h5")


def test_a_lambda_of_keras_2(tmp_path: Path, marker: Path) -> None:
    code = compile(f"lambda x: open({str(marker)!r}, 'w')", "model", "eval").co_consts[0]
    function = [base64.b64encode(marshal.dumps(code)).decode(), None, None]
    layer = {
        "class_name": "Lambda",
        "config": {"name": "scale", "function": function, "function_type": "lambda"},
    }
    image = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8, 8, 3], "name": "image"}}
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [image, layer]}}
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
    with pytest.raises(ModelFileUnsafe, match=r"'scale' is a Lambda.*keras.layers.Rescaling"):
        open_model_file(tmp_path / "model.h5")


def test_the_honest_file_is_opened(honest: Path) -> None:
    assert open_model_file(honest).description.outputs == 2


def test_layers_of_somebody_are_listed_with_what_they_need(honest: Path, tmp_path: Path) -> None:
    def change(config: Config) -> None:
        for name in ("first", "second"):
            layer = object_of("my_code", "Attention2", name=name) | {"registered_name": "Attention2"}
            config["config"]["layers"].insert(1, layer)
        convolution(config)["config"]["activation"] = "my_swish"

    with pytest.raises(CustomClassesMissing, match="Attention2, used by 'second', 'first'"):
        open_model_file(rewritten(honest, tmp_path / "model.keras", change))


def test_losses_and_optimizers_are_not_looked_at(honest: Path, tmp_path: Path) -> None:
    """They may name what they like: they are removed before anything is built."""

    def change(config: Config) -> None:
        config["compile_config"] = {"loss": reference("os", "system")}

    file = open_model_file(rewritten(honest, tmp_path / "model.keras", change))
    assert file.predict(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 2)


def rename_convolution(name: object, config: Config) -> None:
    convolution(config)["config"]["name"] = name


def test_deep_and_endless_configurations(honest: Path, tmp_path: Path) -> None:
    deep: Any = "end"
    for _ in range(500):
        deep = [deep]
    for value in (
        deep,
        float("nan"),
        [1],
        7,
        {"class_name": 3},
        {"class_name": "Dense", "registered_name": 1},
    ):
        change = partial(rename_convolution, value)
        path = rewritten(honest, tmp_path / "model.keras", change)
        with pytest.raises(PipelineError):
            open_model_file(path)


@pytest.mark.parametrize("name", ["../escape", "/absolute", "a/../../b", "..\\windows", "C:x"])
def test_a_zip_member_that_leads_out(honest: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(honest, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ModelFileUnsafe, match="leads out"):
        open_model_file(tmp_path / "model.keras")


def test_a_zip_member_that_is_a_link(honest: Path, tmp_path: Path) -> None:
    shutil.copy(honest, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        entry = zipfile.ZipInfo("assets")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc")
    with pytest.raises(ModelFileUnsafe, match="symbolic link"):
        open_model_file(tmp_path / "model.keras")


def test_a_zip_that_grows(honest: Path, tmp_path: Path) -> None:
    shutil.copy(honest, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(2**24))
    with pytest.raises(ModelFileUnsafe, match="grows from"):
        open_model_file(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_configurations(honest: Path, tmp_path: Path) -> None:
    shutil.copy(honest, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFileUnsafe, match="same name"):
        open_model_file(tmp_path / "model.keras")


def test_a_damaged_zip(honest: Path, tmp_path: Path) -> None:
    data = honest.read_bytes()
    for part in (data[:100], data[:-30], data[: len(data) // 2]):
        (tmp_path / "model.keras").write_bytes(part)
        with pytest.raises(ModelFileInvalid):
            open_model_file(tmp_path / "model.keras")


def with_weights(honest: Path, target: Path, change: Callable[[h5py.File], None]) -> Path:
    """A copy of a Keras file with other weights."""
    with zipfile.ZipFile(honest) as archive, zipfile.ZipFile(target, "w") as written:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".h5"):
                buffer = io.BytesIO(data)
                with h5py.File(buffer, "r+") as file:
                    change(file)
                data = buffer.getvalue()
            written.writestr(name, data)
    return target


def soft_link(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/conv2d/vars/0")


def external_link(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_storage(file: h5py.File) -> None:
    """CVE-2026-1669: the bytes of another file become weights."""
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (4, 2), "f4", external=[("/etc/passwd", 0, 32)])


def virtual_dataset(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 2))
    file["layers/dense/vars"].create_virtual_dataset("0", layout)


def huge_dataset(file: h5py.File) -> None:
    """CVE-2026-0897: a petabyte that takes no space in the file."""
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (2**25, 2**23), "f4", chunks=(64, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (soft_link, "SoftLink"),
        (external_link, "ExternalLink to '/etc/passwd'"),
        (external_storage, "in another file"),
        (virtual_dataset, "virtual dataset"),
        (huge_dataset, "declares"),
    ],
)
def test_weights_that_are_elsewhere_or_nowhere(
    honest: Path, tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    file = open_model_file(with_weights(honest, tmp_path / "model.keras", change))
    with pytest.raises(ModelFileUnsafe, match=message):
        file.to_onnx(8, 8)


def test_a_group_that_contains_itself(honest: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["layers/again"] = file["layers"]

    file = open_model_file(with_weights(honest, tmp_path / "model.keras", change))
    assert file.predict(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 2)


def test_weights_of_another_network(honest: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.zeros((5, 2), np.float32)

    file = open_model_file(with_weights(honest, tmp_path / "model.keras", change))
    with pytest.raises(ModelFileInvalid, match="do not fit its layers"):
        file.to_onnx(8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel whose function reads a file and writes another."""
    root = tmp_path_factory.mktemp("saved")

    class Network(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])  # type: ignore[untyped-decorator]
        def serve(self, image: Any) -> Any:  # noqa: ANN401
            tf.io.write_file(str(root / "marker"), "written")
            return tf.nn.softmax(tf.reduce_mean(image, axis=[1, 2]))

    network = Network()
    tf.saved_model.save(network, root / "model", {"serving_default": network.serve})
    return root / "model"


def test_a_saved_model_that_writes_files(folder: Path) -> None:
    with pytest.raises(ModelFileUnsafe, match="'WriteFile'"):
        open_model_file(folder)
    assert not (folder.parent / "marker").exists()


@pytest.mark.parametrize(
    "operation", ["ReadFile", "PyFunc", "EagerPyFunc", "PyFuncStateless", "LookupTableFindV2"]
)
def test_a_saved_model_with_other_operations(folder: Path, tmp_path: Path, operation: str) -> None:
    shutil.copytree(folder, tmp_path / "model")
    data = (tmp_path / "model" / "saved_model.pb").read_bytes()
    document = saved_model_pb2.SavedModel.FromString(data)
    for function in document.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "WriteFile":
                node.op = operation
    (tmp_path / "model" / "saved_model.pb").write_bytes(document.SerializeToString())
    with pytest.raises(ModelFileUnsafe, match=operation):
        open_model_file(tmp_path / "model")


@pytest.mark.parametrize("operation", ["SaveV2", "RestoreV2", "MergeV2Checkpoints"])
def test_saving_and_restoring_cannot_be_called(folder: Path, tmp_path: Path, operation: str) -> None:
    """TensorFlow puts these into functions that nothing calls here; in another one they are an attempt."""
    shutil.copytree(folder, tmp_path / "model")
    data = (tmp_path / "model" / "saved_model.pb").read_bytes()
    document = saved_model_pb2.SavedModel.FromString(data)
    for function in document.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "WriteFile":
                node.op = operation
    (tmp_path / "model" / "saved_model.pb").write_bytes(document.SerializeToString())
    with pytest.raises(ModelFileUnsafe, match=f"can be called uses {operation}"):
        open_model_file(tmp_path / "model")


def test_a_saved_model_with_a_link(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "assets").rmdir()
    (tmp_path / "model" / "assets").symlink_to("/etc")
    with pytest.raises(ModelFileUnsafe, match="symbolic link"):
        open_model_file(tmp_path / "model")


def test_pickles_and_archives_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04\x95" + struct.pack("<q", 1))
    with zipfile.ZipFile(tmp_path / "torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    with zipfile.ZipFile(tmp_path / "converted.zip", "w") as archive:
        archive.writestr("keras_model.h5", b"")
    for name, message in (
        ("pickle", "no known kind"),
        ("torch.pt", "torch.onnx"),
        ("converted.zip", "unpack it"),
    ):
        with pytest.raises(PipelineError, match=message):
            open_model_file(tmp_path / name)
