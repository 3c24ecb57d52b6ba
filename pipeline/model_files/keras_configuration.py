"""Checks the configuration of a Keras model before Keras builds anything from it, and prepares it for that.

Every dictionary that names a class or a function has to name an allowed one, wherever in the configuration
it is. This is independent of Keras's `safe_mode`, which a configuration could switch off (CVE-2025-9906) or
bypass (CVE-2025-1550, CVE-2025-8747) in several versions.
"""

import builtins
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CustomClassesMissing, ModelFileInvalid, ModelFileUnsafe, NetworkUnsuitable
from pipeline.model_files.keras_classes import ACTIVATIONS, CLASSES, FORBIDDEN, FUNCTION_MODULES

# Far above what real models have: NASNetLarge's configuration has 90,000 values and is 11 levels deep.
MAX_VALUES, MAX_DEPTH = 5_000_000, 200
# The keys of layers that name a function as a string.
ACTIVATION_KEYS = frozenset(["activation", "recurrent_activation"])
# Plain values that Keras writes as dictionaries.
VALUE_CLASSES = frozenset(["__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__"])
# Known formats of weights that are not floating-point numbers.
QUANTISED_POLICIES = ("Quantized", "Int4", "GPTQ", "AWQ")


@dataclass
class _Findings:
    """What the walk through a configuration found; `uses` maps a missing class to the layers that use it."""

    path: Path
    custom: Mapping[str, Any]
    code: Path | None
    uses: dict[str, list[str]] = field(default_factory=dict)


def check_configuration(
    config: dict[str, Any], path: Path, custom: Mapping[str, Any], code: Path | None
) -> None:
    """Raises unless all classes and functions that `config` names are allowed or in `custom`.

    Raises `ModelFileUnsafe` for what is never loaded, `CustomClassesMissing` for the rest.
    """
    findings = _Findings(path, custom, code)
    _check(config, "the model", findings)
    if findings.uses:
        raise CustomClassesMissing(path, findings.uses, code)


def _check(node: object, layer: str, findings: _Findings) -> None:
    if isinstance(node, list):
        for item in node:
            _check(item, layer, findings)
    elif isinstance(node, dict):
        name = _layer_name(node) or layer
        # "module" alone is a plain value: no class is looked up without a name.
        if "class_name" in node or "registered_name" in node:
            _check_object(node, name, findings)
        for key, value in node.items():
            if key in ACTIVATION_KEYS and isinstance(value, str):
                _check_activation(value, name, findings)
            _check(value, name, findings)


def _layer_name(node: dict[str, Any]) -> str | None:
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) and "class_name" in node else None
    # The same key holds the name of a dtype policy.
    is_policy = str(node.get("class_name")).endswith("DTypePolicy")
    return f"{name!r}" if isinstance(name, str) and not is_policy else None


def _check_object(node: dict[str, Any], layer: str, findings: _Findings) -> None:
    class_name, module, registered = (node.get(key) for key in ("class_name", "module", "registered_name"))
    if not isinstance(class_name, str) or not isinstance(module, str | None):
        raise ModelFileInvalid(findings.path, f"the configuration of {layer} names a class by {class_name!r}")
    if not isinstance(registered, str | None):
        raise ModelFileInvalid(findings.path, f"{layer} has {registered!r} as the name of a registered class")
    if class_name in FORBIDDEN or (registered or "").split(">")[-1] in FORBIDDEN:
        name = class_name if class_name in FORBIDDEN else str(registered)
        reason, advice = FORBIDDEN[name.split(">")[-1]]
        raise ModelFileUnsafe(findings.path, f"layer {layer} is a {name}: {reason}", advice)
    if class_name in VALUE_CLASSES:
        if module is not None or registered is not None:
            raise _unsafe(findings, f"{layer} gives the value {class_name} a module")
    elif class_name == "function":
        _check_function(node, layer, findings)
    elif class_name.startswith("__"):
        reason = f"{layer} has a {class_name} in its configuration, which stands for Python code or types"
        raise _unsafe(findings, reason)
    elif class_name.startswith(QUANTISED_POLICIES):
        raise NetworkUnsuitable(
            findings.path,
            f"{layer} was quantised by Keras ({class_name})",
            "Bring the model as it was before model.quantize; the export makes 8 bits of it",
        )
    elif class_name not in CLASSES.get(module or "", ()):
        _check_custom(class_name, module, registered, layer, findings)
    elif registered not in (None, class_name):
        raise _unsafe(findings, f"{layer} registers {registered!r} as {module}.{class_name}")
    elif class_name in findings.custom or (registered and registered in findings.custom):
        # Keras would take the registered class for every layer of this name.
        raise _unsafe(findings, f"the declared code defines {class_name}, which is a class of Keras")


def _check_function(node: dict[str, Any], layer: str, findings: _Findings) -> None:
    name, module = node.get("config"), node.get("module")
    registered = node.get("registered_name")
    if not isinstance(name, str):
        raise ModelFileInvalid(findings.path, f"{layer} names a function by {name!r}")
    if name in findings.custom and registered in (None, name, "function"):
        return
    if module in FUNCTION_MODULES and name in ACTIVATIONS and registered in (None, name, "function"):
        return
    if isinstance(module, str) and module.split(".")[0] in ("keras", "tensorflow", "tf_keras", "builtins"):
        if module in FUNCTION_MODULES and not hasattr(builtins, name):
            _note_missing(f"the activation {name!r}", layer, findings)
            return
        raise _unsafe(findings, f"{layer} refers to the function {module}.{name}")
    if not module or not name.isidentifier() or "." in module or _is_of_python(module):
        raise _unsafe(findings, f"{layer} refers to the function {module}.{name}")
    _note_missing(f"the function {name!r}", layer, findings)


def _is_of_python(module: str) -> bool:
    """Whether it is of Python's own library. Classes of a notebook have the module `__main__`."""
    return module.split(".")[0] in sys.stdlib_module_names - {"__main__"}


def _check_activation(name: str, layer: str, findings: _Findings) -> None:
    if name not in ACTIVATIONS and name not in findings.custom:
        _note_missing(f"the activation {name!r}", layer, findings)


def _check_custom(
    class_name: str, module: str | None, registered: str | None, layer: str, findings: _Findings
) -> None:
    if registered and registered in findings.custom:
        return
    if (module or "").split(".")[0] in ("keras", "tensorflow", "tf_keras") and ">" not in (registered or ""):
        reason = f"{layer} is a {module}.{class_name}, which is not one of the known layers of Keras"
        raise ModelFileUnsafe(
            findings.path,
            reason,
            'If it is needed, export the model where it was made, model.export("folder"), and bring that',
        )
    if _is_of_python(module or ""):
        raise _unsafe(findings, f"{layer} refers to the class {module}.{class_name}")
    _note_missing(registered or class_name, layer, findings)


def _note_missing(name: str, layer: str, findings: _Findings) -> None:
    layers = findings.uses.setdefault(name, [])
    if layer not in layers:
        layers.append(layer)


def _unsafe(findings: _Findings, reason: str) -> ModelFileUnsafe:
    return ModelFileUnsafe(
        findings.path,
        reason,
        "No layer of Keras needs that; if the file is not yours, do not load it elsewhere either",
    )


def check_size(config: object, path: Path) -> None:
    """Raises `ModelFileInvalid` for a configuration that is too large, or too deep for recursion."""
    stack, values = [(config, 0)], 0
    while stack:
        node, depth = stack.pop()
        values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            reason = f"nested deeper than {MAX_DEPTH} levels or has over {MAX_VALUES:,} values"
            raise ModelFileInvalid(path, f"its configuration is {reason}")
        if isinstance(node, list):
            stack += ((item, depth + 1) for item in node)
        elif isinstance(node, dict):
            stack += ((value, depth + 1) for value in node.values())


def without_training(node: Any) -> Any:  # noqa: ANN401
    """A copy without optimizers, losses and metrics, which may name anything and are not needed."""
    if isinstance(node, list):
        return [without_training(item) for item in node]
    if isinstance(node, dict):
        return {
            key: without_training(value)
            for key, value in node.items()
            # Outside a class of this key, the value is an argument of somebody's own layer.
            if not (key == "compile_config" and "class_name" in node)
        }
    return node


def as_float32(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy in which every layer computes in float32, and the policies that were replaced."""
    found: set[str] = set()
    return _as_float32(config, found), sorted(found)


def _as_float32(node: Any, found: set[str]) -> Any:  # noqa: ANN401
    if isinstance(node, list):
        return [_as_float32(item, found) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") in VALUE_CLASSES:
        config = node.get("config")
        if (
            node["class_name"] == "__tensor__"
            and isinstance(config, dict)
            and "float" in str(config.get("dtype"))
        ):
            return node | {"config": config | {"dtype": "float32"}}
        return node
    changed = {key: _as_float32(value, found) for key, value in node.items()}
    if "dtype" in node and "class_name" not in node:
        policy = _policy_name(node["dtype"])
        # Whole numbers stay: an operation that casts to them computes something else.
        if policy is not None and "float" in policy and policy != "float32":
            found.add(policy)
            changed["dtype"] = "float32"
    return changed


def _policy_name(dtype: object) -> str | None:
    """The name of a dtype or dtype policy, written as a string or as an object."""
    if isinstance(dtype, dict):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, dict) else None
    return dtype if isinstance(dtype, str) else None
