# SPDX-License-Identifier: Apache-2.0
"""Strict configuration: a frozen dataclass is the schema, TOML the file format, `key=value` the override."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ophclip.errors import UsageError, did_you_mean

T = TypeVar("T")


def load_config(schema: type[T], path: Path | None = None, overrides: Sequence[str] = ()) -> T:
    """Build `schema` (a dataclass of plain types) from a TOML file and `key=value` overrides.

    Every key must be a field of the schema and every value of that field's type; an int is accepted
    for a float. Overrides win over the file and are parsed as TOML values, a bare word as a string.

    Raises:
        UsageError: the file is unreadable, a key is unknown or missing, or a value has the wrong type.
    """
    values = _read_toml(path) if path is not None else {}
    source = str(path) if path is not None else "the configuration"
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--set must read key=value, got {override!r}", remedy="write --set steps=100")
        values[key.strip()] = _parse_value(text.strip())
    return from_mapping(schema, values, source=source)


def from_mapping(schema: type[T], values: Mapping[str, Any], *, source: str) -> T:
    """Check `values` against the fields of `schema` and build it; `source` names them in errors."""
    fields = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    hints = get_type_hints(schema)
    for key in values:
        if key not in fields:
            raise UsageError(f"{source}: unknown key {key!r}", remedy=did_you_mean(key, fields))
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise UsageError(f"{source}: key {name!r} is missing", remedy=f"set it, or pass --set {name}=...")
    checked = {key: _coerce(value, hints[key], f"{source}: {key}") for key, value in values.items()}
    return schema(**checked)


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain TOML/JSON types; fields that are None are left out."""
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) is not None
    }


def to_toml(config: Any) -> str:
    """Return a configuration as TOML text that `load_config` reads back to an equal object."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no configuration file at {path}", remedy="check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", remedy="pass a readable TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy="mend that line") from error


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _coerce(value: Any, hint: Any, name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        inner = next(argument for argument in arguments if argument is not type(None))
        return _coerce(value, inner, name)
    if origin is Literal:
        if value not in arguments:
            choices = ", ".join(str(argument) for argument in arguments)
            raise UsageError(f"{name} must be one of {choices}, got {value!r}", remedy="pick one of them")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{name} must be a list, got {value!r}", remedy="write it as [a, b]")
        return tuple(_coerce(item, arguments[0], name) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        kind = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false"}
        wanted = kind.get(hint.__name__, hint.__name__)
        raise UsageError(f"{name} must be {wanted}, got {value!r}", remedy="mend its value")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
