"""The search space of a tuning: a range of values for each searched setting.

The ranges are read from text and checked before anything runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from satm.config import setting_path
from satm.errors import ConfigError
from satm.presets import Preset
from satm.workflow.choosing import with_settings

Scale: TypeAlias = Literal["linear", "log", "int"]
FORMS = "log:LOW:HIGH, LOW:HIGH, int:LOW:HIGH or a list such as 0,0.1,0.3"
FIXED = {
    "validation": "it decides which images judge",
    "classes": "it decides which images judge",
    "recipe": "it decides how a set is evaluated later, not how it is made",
    "architecture": "trials are judged on the network that they are made with, so they could not be compared",
    "image_size": "trials of different sizes could not be compared",
}
"""Settings that cannot be searched, each with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """All numbers from `low` to `high`.

    Values are drawn uniformly ("linear"), uniformly in the logarithm ("log"), or as whole numbers ("int").
    """

    low: float
    high: float
    scale: Scale

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.scale != "int" or isinstance(value, int))

    @property
    def samples(self) -> tuple[Any, ...]:
        """The values that are tried in the preset to check the range: both ends."""
        return (int(self.low), int(self.high)) if self.scale == "int" else (self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """A list of values."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return any(type(each) is type(value) and each == value for each in self.values)

    @property
    def samples(self) -> tuple[Any, ...]:
        """The values that are tried in the preset to check the range: all of them."""
        return self.values


Range: TypeAlias = Interval | Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The searched settings. The keys of all three mappings are the names of the settings as the user wrote them."""

    ranges: Mapping[str, Range]
    texts: Mapping[str, str]  # the ranges as the user wrote them
    defaults: Mapping[str, Any]  # the values of the settings in the preset

    @property
    def holds_defaults(self) -> bool:
        """Whether all values of the preset are in the ranges."""
        return all(value in self.ranges[name] for name, value in self.defaults.items())


def read_space(preset: Preset, search: Mapping[str, str], fixed: Sequence[str] = ()) -> Space:
    """Read the search space from `search`, which has a text for each setting in one of the forms of `FORMS`.

    `fixed` has the names of settings that the user has set to one value. Each end of a range and each value of a list
    is tried in the preset.

    Raises UnknownName for a setting that does not exist. Raises ConfigError for a range that is empty or has the wrong
    type, for a value that the method refuses, and for a setting that is fixed, is named twice or cannot be searched.
    """
    if not search:
        raise ConfigError("nothing to search: name a setting and its range, as in --search outer.radius=log:0.003:0.3")
    values = preset.config.every_setting()
    set_already = {setting_path(values, name): name for name in fixed if name not in ("dataset", "ipc", "method")}
    found: dict[str, Range] = {}
    paths: dict[str, str] = {}
    for name, text in search.items():
        path = setting_path(values, name)
        _check_name(name, path, _at(values, path), set_already, paths)
        paths[path] = name
        found[name] = parse_range(name, text)
        for value in found[name].samples:
            _try(preset, name, text, value)
    defaults = {name: _at(values, path) for path, name in paths.items()}
    return Space(ranges=found, texts=dict(search), defaults=defaults)


def parse_range(name: str, text: str) -> Range:
    """Read the range of setting `name` from text. Raises ConfigError for a text in none of the forms of `FORMS`."""
    words = text.split(":")
    if words[0] in ("log", "int") or (len(words) == 2 and all(_is_number(word) for word in words)):
        scale: Scale = "log" if words[0] == "log" else "int" if words[0] == "int" else "linear"
        return _interval(name, text, scale, words[-2:] if scale == "linear" else words[1:])
    values = tuple(_value(name, text, word) for word in text.split(","))
    if len(values) < 2:
        raise ConfigError(f"--search {name}={text}: expected {FORMS}; for one value use --set {name}={text}")
    if len({json.dumps(value) for value in values}) < len(values):
        raise ConfigError(f"--search {name}={text}: a value is there twice")
    return Choices(values=values)


def _interval(name: str, text: str, scale: Scale, ends: Sequence[str]) -> Interval:
    whole = scale == "int"
    if len(ends) != 2 or not all(_is_number(end) and (not whole or float(end).is_integer()) for end in ends):
        raise ConfigError(f"--search {name}={text}: expected two {'whole ' if whole else ''}numbers, as {FORMS}")
    low, high = map(float, ends)
    if not low < high:
        raise ConfigError(f"--search {name}={text}: the range is empty, because {ends[0]} is not below {ends[1]}")
    if scale == "log" and low <= 0:
        raise ConfigError(f"--search {name}={text}: the lower end of a logarithmic range must be above 0")
    return Interval(low=low, high=high, scale=scale)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _value(name: str, text: str, word: str) -> Any:
    """One value of a list: `word` read as JSON, or `word` itself as a string if it is not valid JSON."""
    try:
        value = json.loads(word)
    except (json.JSONDecodeError, RecursionError):
        value = word.strip()
    if value == "" or not (value is None or isinstance(value, bool | int | float | str)):
        raise ConfigError(f"--search {name}={text}: {word!r} is no number, text, true, false or null")
    return value


def _check_name(name: str, path: str, value: Any, set_already: Mapping[str, str], paths: Mapping[str, str]) -> None:
    """Raise ConfigError for a setting that cannot be searched."""
    if path in set_already:
        raise ConfigError(f"{name} is both in --set and in --search; leave it out of one of them")
    if path in paths:
        raise ConfigError(f"--search {name}: {paths[path]} is the same setting; name it once")
    if path in FIXED:
        raise ConfigError(f"--search {name}: {FIXED[path]}; set it with --set")
    if isinstance(value, Mapping):
        inside = ", ".join(f"{name}.{each}" for each in value)
        raise ConfigError(f"--search {name}: this is a table of settings; search one of {inside}")


def _try(preset: Preset, name: str, text: str, value: Any) -> None:
    """Raise ConfigError if the preset refuses the value."""
    try:
        with_settings(preset, {name: value})
    except ConfigError as error:
        whole = " (whole numbers: int:LOW:HIGH)" if "whole number" in str(error) else ""
        raise ConfigError(f"--search {name}={text}: {error}{whole}") from None


def _at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for name in path.split("."):
        found = found[name]
    return found


def parse_search(pairs: Sequence[str]) -> dict[str, str]:
    """Read texts `key=range` as a dictionary. Raises ConfigError for any other text and for a key that comes twice."""
    return dict(_pairs(pairs))


def _pairs(pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not (key and equals and text):
            raise ConfigError(f"--search {pair}: expected KEY=RANGE, with {FORMS}")
        if key in seen:
            raise ConfigError(f"--search {pair}: {key} is there twice; name it once")
        seen.add(key)
        yield key, text
