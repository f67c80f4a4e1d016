"""Frozen configuration dataclasses to plain dictionaries and back. Unknown keys and wrong types are refused."""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from satm.errors import ConfigError, UnknownName

C = TypeVar("C")


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Says how the class of a field's value is found: the value's own field `tag` holds the name of its class.

    It annotates the field's type:

        outer: Annotated[OuterRule, Choice(tag="rule", names=OUTER, find=...)]

    The value is then read from {"rule": "sam", "rho": 0.1}, or from "sam" for the defaults of that class.
    """

    tag: str
    names: Iterable[str]  # every name there is; read again for each value, as a table grows
    find: Callable[[str], type[Any]]  # from a name of `names` to a dataclass with a field `tag`


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-able dictionary of a (nested) configuration dataclass."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Rebuild `cls` from the form that `to_dict` gives. `where` is put before the keys in messages.

    Raises UnknownName for a key that `cls` does not have, and ConfigError for a value of the wrong type. Both name the
    key.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
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
    """Today's name of `value`, if the field's metadata lists it among the former names (`formerly`); else `value`."""
    return field.metadata.get("formerly", {}).get(value, value) if isinstance(value, str) else value


def override(
    values: Mapping[str, Any], changes: Mapping[str, Any], *, either: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A copy of `values` (in the form of `to_dict`) with settings replaced; `values` itself stays unchanged.

    A key is dotted ("experts.count"). It may leave out leading parts ("count") if that names one setting only. It may
    name a whole table, which is then replaced. `either` names two settings of one table, of which one is null: a change
    of one sets the other to null, unless that is changed too. Raises UnknownName for a key that is nowhere, and
    ConfigError for a key that is in several places.
    """
    result = copy.deepcopy(dict(values))
    changed = {key.split(".")[-1] for key in changes}
    for key, value in changes.items():
        *parents, leaf = setting_path(values, key).split(".")
        place = result
        for parent in parents:
            place = place[parent]
        place[leaf] = value
        alternatives = either is not None and leaf in either and place.keys() >= set(either)
        if either is not None and alternatives and value is not None and not changed.issuperset(either):
            place[either[leaf == either[0]]] = None
    return result


def setting_path(values: Mapping[str, Any], key: str) -> str:
    """The whole dotted name of the setting `key`, which may leave out leading parts. Raises as `override`."""
    paths = list(_paths(values))
    matching = [path for path in paths if path == key] or [p for p in paths if p.endswith("." + key)]
    if not matching:
        raise UnknownName("setting", key, paths)
    if len(matching) > 1:
        raise ConfigError(f"setting '{key}' is ambiguous: write {' or '.join(matching)}")
    return matching[0]


def _paths(values: Mapping[str, Any], prefix: str = "") -> typing.Iterator[str]:
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`. JSON lists become tuples and whole numbers become floats; nothing else is converted.

    Raises ConfigError with the name `where` for a value of another type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        choices = [each for each in arguments[1:] if isinstance(each, Choice)]
        if not choices:
            return _typed(arguments[0], value, where)
        if isinstance(value, Mapping | str):
            return _chosen(choices[0], value, where)
    elif origin in (typing.Union, types.UnionType):
        tables = [option for option in arguments if dataclasses.is_dataclass(option)]
        if isinstance(value, Mapping) and len(tables) == 1:  # so that the message is about the wrong value inside
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


def _chosen(choice: Choice, value: Mapping[str, Any] | str, where: str) -> Any:
    """The value of the class that its tag names. A string is the name itself and means that class's defaults."""
    if isinstance(value, str):
        value = {choice.tag: value}
    name = value.get(choice.tag)
    if name is None:
        raise ConfigError(f"setting {where}.{choice.tag} is missing; give it one of {', '.join(choice.names)}")
    if name not in list(choice.names):
        raise UnknownName(f"setting {where}.{choice.tag}", str(name), choice.names)
    return from_dict(choice.find(name), value, where + ".")


def _spell(hint: Any) -> str:
    """The type in words, for a message."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return "a table of settings"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        return f"a list of {_spell(arguments[0])}"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}.get(
        hint, "a table of settings" if dataclasses.is_dataclass(hint) else str(hint)
    )
