"""Search spaces: every form is read, and whatever cannot be searched is refused in one line before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

import satm
from satm.errors import ConfigError, UsageError
from satm.workflow.tune.space import Choices, Interval, parse_range, parse_search, read_space


@pytest.fixture(scope="module")
def preset() -> Any:
    return satm.choose_preset("digits", ipc=1, profile="smoke")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log:0.003:0.3", Interval(low=0.003, high=0.3, scale="log")),
        ("0:1", Interval(low=0, high=1, scale="linear")),
        ("-1:1e2", Interval(low=-1, high=100, scale="linear")),
        ("int:1:8", Interval(low=1, high=8, scale="int")),
        ("0,0.03,0.1", Choices(values=(0, 0.03, 0.1))),
        ("variance,std", Choices(values=("variance", "std"))),
        ("true,false", Choices(values=(True, False))),
        ("null,0.5", Choices(values=(None, 0.5))),
    ],
)
def test_a_range_is_read(text: str, expected: Any) -> None:
    assert parse_range("key", text) == expected


def test_membership_knows_types() -> None:
    assert 3 in Interval(low=1, high=8, scale="int")
    assert 3.0 not in Interval(low=1, high=8, scale="int")
    assert True not in Interval(low=0, high=8, scale="linear")
    assert None not in Interval(low=0, high=8, scale="log")
    assert True not in Choices(values=(1, 2))
    assert 1 in Choices(values=(1, 2))


@pytest.mark.parametrize(
    ("search", "fixed", "message"),
    [
        ({"outer.radios": "0:1"}, (), r"unknown setting 'outer.radios': did you mean .*settings\.outer\.radius"),
        ({"lr": "0:1"}, (), r"lr"),
        ({"outer.radius": "0.1:0.1"}, (), "the range is empty, because 0.1 is not below 0.1"),
        ({"outer.radius": "1:0"}, (), "the range is empty"),
        ({"outer.radius": "log:0:1"}, (), "lower end of a logarithmic range must be above 0"),
        ({"outer.radius": "log:0.1"}, (), "expected two numbers"),
        ({"outer.radius": "log:a:b"}, (), "expected two numbers"),
        ({"outer.radius": "nan:1"}, (), "expected log:LOW:HIGH"),
        ({"outer.radius": "int:0.5:2"}, (), "expected two whole numbers"),
        ({"outer.radius": "0.1"}, (), "for one value use --set outer.radius=0.1"),
        ({"outer.radius": "0.1,0.1"}, (), "a value is there twice"),
        ({"outer.radius": "0.1,,0.2"}, (), "'' is no number, text, true, false or null"),
        ({"outer.radius": "[1],[2]"}, (), "is no number, text"),
        ({"outer.radius": "big,small"}, (), "--search outer.radius=big,small: setting settings.outer.radius is 'big'"),
        ({"outer.radius": "-1:1"}, (), "--search outer.radius=-1:1: "),
        ({"outer_steps": "1:8"}, (), r"expected a whole number \(whole numbers: int:LOW:HIGH\)"),
        ({"outer": "sam,satm"}, (), "is a table of settings; search one of outer.radius, outer.rho"),
        ({"validation": "0.1,0.2"}, (), "it decides which images judge"),
        ({"architecture": "convnet1,convnet2"}, (), "could not be compared"),
        ({"ipc": "int:1:5"}, (), "ipc is not a setting: it chooses the preset"),
        ({"outer.radius": "0.1:1"}, ("radius",), "outer.radius is both in --set and in --search"),
        ({"outer.radius": "0.1:1", "radius": "0.1:1"}, (), "outer.radius is the same setting; name it once"),
        ({}, (), "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    preset: Any, search: dict[str, str], fixed: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_space(preset, search, fixed)
    assert "\n" not in str(error.value)


def test_the_defaults_are_known(preset: Any) -> None:
    space = read_space(preset, {"outer.radius": "log:0.001:0.3", "outer_steps": "10,20"})
    assert space.defaults == {"outer.radius": 0.02, "outer_steps": 20}
    assert space.holds_defaults
    assert not read_space(preset, {"outer.radius": "0.1:0.3"}).holds_defaults


@pytest.mark.parametrize("pair", ["outer.radius", "=1:2", "outer.radius=", "a=1:2 a=1:2"])
def test_a_pair_is_a_key_and_a_range(pair: str) -> None:
    with pytest.raises(ConfigError, match="--search"):
        parse_search(pair.split())
    assert parse_search(["a = 0:1", "b=x,y"]) == {"a": "0:1", "b": "x,y"}
