"""Parses YAML as DVC does and validates it with pydantic; faults become sentences that name the key.

DVC reads YAML 1.2 with ruamel.yaml: 3e-3 is a number and `no` is a string. PyYAML reads YAML 1.1, where both
are the other way round.
"""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.errors import ParamsInvalid

# pydantic puts the chosen member of a union into the path of a fault; the file has no such key.
UNION_MEMBERS = ("pretrained", "scratch", "finetune")


def parse_yaml(data: bytes, path: Path) -> Any:  # noqa: ANN401  (any YAML value)
    """The value of a YAML document; `ParamsInvalid` with the line if it cannot be parsed."""
    try:
        return YAML(typ="safe").load(data.decode())
    except MarkedYAMLError as error:
        place = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ParamsInvalid(path, [f"{place}{error.problem}"]) from None
    except RecursionError:
        raise ParamsInvalid(path, ["its values are nested too deeply"]) from None
    # ValueError: malformed dates and numbers, and text that is not UTF-8.
    except (YAMLError, ValueError) as error:
        raise ParamsInvalid(path, [" ".join(str(error).split())]) from None


def validate(adapter: TypeAdapter[Any], value: object, key: str, faults: list[str]) -> Any:  # noqa: ANN401
    """The validated value; otherwise `None`, and one sentence per fault is added to `faults`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        for fault in error.errors():
            keys = [str(part) for part in fault["loc"] if part not in UNION_MEMBERS]
            found = "" if fault["type"] == "missing" else f" (found {fault['input']!r})"
            hint = _hint(fault["type"], fault["input"])
            faults.append(f"{'.'.join([key, *keys])}: {fault['msg']}{found}{hint}")
        return None


def _hint(fault_type: str, value: object) -> str:
    """How to write a value that YAML parsed as another type than the user meant."""
    if fault_type in ("string_type", "literal_error") and not isinstance(value, str | dict | list):
        return "; text that YAML takes for something else needs quotes"
    if fault_type == "bool_type":
        return "; write true or false"
    if fault_type == "int_type" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if fault_type in ("int_type", "float_type") and isinstance(value, str):
        return f"; write {number:g}" if (number := _parse_number(value)) is not None else "; write a number"
    return ""


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
