"""Converts frozen configuration dataclasses to plain dictionaries and back. Unknown keys and wrong types are errors."""

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
    """An annotation of a field that can hold dataclasses of several types. It says how the type of a value is found.

    Each of these dataclasses has a short name (such as "sam"), and a field that holds this name. `tag` says what the
    field is called. In the following example it is called "rule":

        outer: Annotated[OuterRule, Choice(tag="rule", names=OUTER, find=...)]

    The field `outer` is then read from {"rule": "sam", "rho": 0.1}: `find("sam")` returns the dataclass, which has the
    fields `rule` and `rho`. The string "sam" alone means the same dataclass with the default values of its fields.
    """

    tag: str  # the field that holds the short name of the dataclass
    names: Iterable[str]  # all short names; read again for each value, because a table of names can grow
    find: Callable[[str], type[Any]]  # returns the dataclass that has the given short name


LATER: Mapping[str, bool] = {"later": True}
"""The metadata of a field that was added after configurations were stored.

`to_dict` leaves the field out if it has its default value. So the dictionary, and every key that is a hash of it, are
those from before the field existed.
"""


def to_dict(config: Any, *, whole: bool = False) -> dict[str, Any]:
    """Return the fields of a configuration dataclass as a dictionary that can be written as JSON.

    A value that is a dataclass becomes a nested dictionary, and a tuple becomes a list. If `whole` is true, fields that
    are marked by `LATER` are never left out.
    """
    held = [(field, getattr(config, field.name)) for field in dataclasses.fields(config)]
    return {
        field.name: _plain(value, whole=whole)
        for field, value in held
        if whole or not (field.metadata.get("later") and value == field.default)
    }


def _plain(value: Any, *, whole: bool) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value, whole=whole)
    return [_plain(v, whole=whole) for v in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Make a `cls` from a dictionary such as `to_dict` returns. Fields with a default value may be missing.

    Raises UnknownName for a key that is not a field of `cls` and for an unknown short name (see `Choice`). Raises
    ConfigError for a missing field and for a value of the wrong type. The messages name the key, with the prefix
    `where`.
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
    """Return `value` or, if `value` is a name that only older versions of satm used, the name that replaced it.

    The metadata of the field list such names as {"formerly": {old name: new name}}.
    """
    return field.metadata.get("formerly", {}).get(value, value) if isinstance(value, str) else value


def override(
    values: Mapping[str, Any], changes: Mapping[str, Any], *, either: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return a copy of `values` in which the settings in `changes` have new values.

    `values` is a dictionary such as `to_dict` returns. `changes` maps the name of a setting to its new value. The name
    is dotted ("experts.count"), and its first parts may be left out ("count") if no other setting ends with the same
    parts. If the name is that of a whole table (a nested dictionary), the whole table is replaced.

    `either` names two settings of one table of which only one may have a value; the other must be None. If `changes`
    gives a value other than None to one of the two and does not hold the other, the other is set to None.

    Raises UnknownName for a key that names no setting, and ConfigError for a key that fits several settings.
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
    """Return the whole dotted name of a setting. `key` is this name, or the end of it ("count" for "experts.count").

    Raises UnknownName if `key` names no setting, and ConfigError if `key` is the end of several names.
    """
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
    """Return `value`, checked against the type `hint` and converted to it.

    A list becomes a tuple, a whole number becomes a float, and a dictionary becomes a dataclass, each only if `hint` is
    such a type. All other values stay as they are. Raises ConfigError for a value that does not fit `hint`; `where` is
    the name of the setting in the message.
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
        # Only this option fits a dictionary. The loop below would hide its message, which names the wrong key or value.
        if isinstance(value, Mapping) and len(tables) == 1:
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
    """Return the dataclass that `value` describes.

    `value[choice.tag]` is the short name of the dataclass (see `Choice`). If `value` is a string, the string is the
    short name, and all fields have their default values.
    """
    if isinstance(value, str):
        value = {choice.tag: value}
    name = value.get(choice.tag)
    if name is None:
        raise ConfigError(f"setting {where}.{choice.tag} is missing; give it one of {', '.join(choice.names)}")
    if name not in list(choice.names):
        raise UnknownName(f"setting {where}.{choice.tag}", str(name), choice.names)
    return from_dict(choice.find(name), value, where + ".")


def _spell(hint: Any) -> str:
    """Return the type `hint` in words, for a message."""
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
