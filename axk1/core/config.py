"""Strict configuration: TOML recipe -> frozen dataclass -> command-line overrides.

A config is a frozen dataclass that lives beside the thing it configures, with one sentence under each field;
that sentence is the ``--help``. A recipe is a TOML file with the same field names, tables for nested dataclasses.
Unknown keys and wrong types are errors that name the field, the value, what is allowed and the nearest name.
"""

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from axk1.core.errors import ConfigError

T = TypeVar("T")


def load_toml(path: str | Path) -> dict[str, Any]:
    """Reads a recipe file. Raises ConfigError when it is missing or is not TOML."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.toml")]) if path.parent.is_dir() else ""
        raise ConfigError(f"recipe {str(path)!r} does not exist{near}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"recipe {str(path)!r} is not a TOML file: {error}") from None


def from_dict(cls: type[T], values: dict[str, Any], *, where: str = "") -> T:
    """Builds the dataclass ``cls`` from plain values, strictly.

    Args:
        cls: a dataclass; nested dataclasses, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]``, ``Literal`` and
            ``Path`` fields are understood.
        values: the keys and values of a recipe.
        where: how to call this place in an error message, for example ``recipes/nano/pretrain.toml``.

    Raises:
        ConfigError: an unknown key, a missing key, a wrong type, or a check in ``__post_init__`` that failed.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    place = f"{where}: " if where else ""
    for key in values:
        if key not in fields:
            raise ConfigError(f"{place}unknown key {key!r}{nearest(key, list(fields))}; allowed: {', '.join(fields)}")
    built = {key: _convert(hints[key], value, f"{where}: {key}" if where else key) for key, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if name not in built and required:
            raise ConfigError(f"{place}key {name!r} is missing")
    try:
        return cls(**built)
    except ConfigError as error:
        raise ConfigError(f"{place}{error.message}", repair=error.repair) from None


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config dataclass, ready for TOML or a manifest (paths become strings)."""

    return _plain(config)


def brought_up_to_date(stored: Any, config: Any) -> Any:
    """The stored values of a config, with those of fields that came later, which stand at their defaults.

    A new field's default is what was done before there was the field, so what was made then need not be made again.

    Args:
        stored: what ``to_dict`` gave, perhaps of an earlier version.
        config: a config dataclass of today.
    """
    if dataclasses.is_dataclass(config) and isinstance(stored, dict):
        known = {f.name: f for f in dataclasses.fields(config)}
        values = {n: brought_up_to_date(v, getattr(config, n)) if n in known else v for n, v in stored.items()}
        later = {name: _default(field) for name, field in known.items() if name not in stored}
        return values | {name: _plain(value) for name, value in later.items() if value is not dataclasses.MISSING}
    if isinstance(config, list | tuple) and isinstance(stored, list) and len(config) == len(stored):
        return [brought_up_to_date(*pair) for pair in zip(stored, config, strict=True)]
    return stored


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    """What a field stands at when nobody says anything; MISSING where somebody must."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def require(condition: bool, field: str, value: Any, allowed: str, *, repair: str | None = None) -> None:
    """Raises ConfigError naming the field, its value and what is allowed, unless the condition holds."""
    if not condition:
        raise ConfigError(f"{field} = {value!r} is not allowed; allowed: {allowed}", repair=repair)


def nearest(name: str, names: list[str]) -> str:
    """The words ", did you mean 'x'?" for a name that is nearly one of ``names``, or nothing."""
    close = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _convert_union(args, value, where)
    if origin is typing.Literal:
        if value not in args:
            near = nearest(str(value), [str(a) for a in args])
            raise ConfigError(f"{where} = {value!r} is not allowed{near}; allowed: {', '.join(map(repr, args))}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} = {value!r} is not allowed; allowed: a list")
        return origin(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} = {value!r} is not allowed; allowed: a table")
        return {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, dict):
            raise ConfigError(f"{where} = {value!r} is not allowed; allowed: a table")
        return from_dict(hint, value, where=where)
    return _convert_scalar(hint, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for arg in args:
        if arg is not type(None):
            try:
                return _convert(arg, value, where)
            except ConfigError as error:
                errors.append(error)
    raise errors[0]


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} = {value!r} is not allowed; allowed: a finite number")
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path"}
    raise ConfigError(f"{where} = {value!r} is not allowed; allowed: {names.get(hint, hint)}")
