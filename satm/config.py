"""Frozen dataclasses to plain dictionaries and back, with every unknown key and wrong type refused."""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from satm.errors import ConfigError, UnknownName

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-able dictionary of a (nested) configuration dataclass."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Rebuild `cls` from `to_dict`'s form.

    Raises UnknownName for a key `cls` does not have and ConfigError for a value of the wrong type, both naming the key.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UnknownName("setting", where + key, [where + name for name in fields])
    given = {key: _typed(hints[key], _today(fields[key], value), where + key) for key, value in values.items()}
    missing = [
        where + name
        for name, field in fields.items()
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"setting {', '.join(missing)} is missing; give it a value")
    return cls(**given)


def _today(field: dataclasses.Field[Any], value: Any) -> Any:
    """`value`, or what it is called today where the field's metadata has it among the names of before (`formerly`)."""
    return field.metadata.get("formerly", {}).get(value, value) if isinstance(value, str) else value


def override(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`to_dict`'s form with dotted keys replaced; a key may leave out its leading parts where that is unambiguous.

    A key may name a whole table, to replace it.
    Raises UnknownName for a key that is nowhere, ConfigError for one that is in several places.
    """
    result = copy.deepcopy(dict(values))
    paths = list(_paths(result))
    for key, value in changes.items():
        matching = [path for path in paths if path == key] or [p for p in paths if p.endswith("." + key)]
        if not matching:
            raise UnknownName("setting", key, paths)
        if len(matching) > 1:
            raise ConfigError(f"setting '{key}' is ambiguous: write {' or '.join(matching)}")
        *parents, leaf = matching[0].split(".")
        place = result
        for parent in parents:
            place = place[parent]
        place[leaf] = value
    return result


def _paths(values: Mapping[str, Any], prefix: str = "") -> typing.Iterator[str]:
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` wants it: JSON's lists become tuples and whole numbers floats, nothing else is bent."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if isinstance(value, Mapping | str) and (tagged := _tagged(arguments)):
            return _chosen(*tagged, value, where)
        tables = [option for option in arguments if dataclasses.is_dataclass(option)]
        if isinstance(value, Mapping) and len(tables) == 1:  # what is wrong inside it is said, not that it is no null
            return from_dict(typing.cast(type, tables[0]), value, where + ".")
        for option in arguments:
            try:
                return _typed(option, value, where)
            except ConfigError:
                continue
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return from_dict(typing.cast(type, hint), value, where + ".")
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_typed(arguments[0], item, where) for item in value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is type(None):
        if value is None:
            return None
    elif isinstance(value, hint):
        return value
    raise ConfigError(f"setting {where} is {value!r}: expected {_spell(hint)}")


def _tagged(options: tuple[Any, ...]) -> tuple[str, dict[str, type]] | None:
    """The field that tells several dataclasses apart, a Literal of one text in each, and the class of each text."""
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    texts = [
        {name: typing.get_args(hint) for name, hint in hints.items() if typing.get_origin(hint) is typing.Literal}
        for hints in map(typing.get_type_hints, classes)
    ]
    for name in texts[0] if len(texts) > 1 else ():
        tags = [each.get(name, ()) for each in texts]
        if all(len(tag) == 1 for tag in tags):
            return name, {tag[0]: typing.cast(type, cls) for tag, cls in zip(tags, classes, strict=True)}
    return None


def _chosen(name: str, classes: Mapping[str, type], value: Mapping[str, Any] | str, where: str) -> Any:
    """Of tagged dataclasses the one that `value` names; a text alone is a name, with the defaults of what it names."""
    if isinstance(value, str):
        value = {name: value}
    tag = value.get(name)
    if tag is None:
        raise ConfigError(f"setting {where}.{name} is missing; give it one of {', '.join(classes)}")
    if tag not in classes:
        raise UnknownName(f"setting {where}.{name}", str(tag), classes)
    return from_dict(classes[tag], value, where + ".")


def _spell(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        return f"a list of {_spell(arguments[0])}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}.get(
        hint, "a table of settings" if dataclasses.is_dataclass(hint) else str(hint)
    )
