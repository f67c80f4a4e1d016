"""Configurations become plain values and are read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satm.config import LATER, from_dict, override, to_dict
from satm.errors import ConfigError, UnknownName
from satm.experts import ExpertConfig
from satm.methods import SATMConfig, outer
from satm.training import SGDConfig

positive = st.floats(1e-9, 1e9)
momentum = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    rate: float
    kind: Literal["a", "b"] = "a"
    on: bool = False
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    steps: int
    rates: tuple[float, ...] = ()
    part: Part = field(default_factory=lambda: Part(rate=1.0))
    other: Part | None = None
    number: int | float | None = None


parts = st.builds(
    Part, rate=positive, kind=st.sampled_from("ab"), on=st.booleans(), name=st.none() | st.text(max_size=5)
)
wholes = st.builds(
    Whole,
    steps=st.integers(),
    rates=st.lists(positive, max_size=3).map(tuple),
    part=parts,
    other=st.none() | parts,
    number=st.none() | st.integers() | positive,
)


@st.composite
def satm_configs(draw):
    steps = draw(st.integers(1, 100))
    window = draw(st.none() | st.integers(1, steps))
    iota = steps - (max(1, steps // 3) if window is None else window)
    return SATMConfig(
        outer_steps=draw(st.integers(0, 10**6)),
        inner_steps=steps,
        expert_epochs=draw(st.integers(1, 10)),
        max_start_epoch=draw(st.integers(1, 60)),
        start_epochs=draw(st.sampled_from(["below", "up_to"])),
        window=window,
        batch_syn=draw(st.none() | st.integers(1, 500)),
        lr_images=draw(positive),
        lr_step_size=draw(positive),
        momentum_images=draw(momentum),
        momentum_step_size=draw(momentum),
        log_step_size=draw(st.booleans()),
        init=draw(st.sampled_from(["real", "noise"])),
        augment=draw(st.none() | st.just("color_crop")),
        outer=draw(rules(iota, steps)),
    )


def rules(iota, steps):
    """Every outer rule, with random numbers."""
    second = {
        "rho": st.floats(0, 10),
        "ramp": st.floats(0, 1),
        "tau": st.none() | st.integers(iota, steps - 1),
        "redraw": st.booleans(),
    }
    noise = st.sampled_from(["variance", "std", "relative"])
    return (
        st.builds(outer.SGD)
        | st.builds(outer.Smooth, gamma=st.floats(0, 10), noise=noise, draws=st.integers(1, 9))
        | st.builds(outer.EMA, decay=momentum)
        | st.builds(outer.SAM, **second)
        | st.builds(outer.ESAM, beta=st.floats(0.01, 1), **second)
        | st.builds(outer.GSAM, gap_weight=st.floats(0, 10), **second)
        | st.builds(outer.ASAM, eta=st.floats(0, 1), **second)
        | st.builds(outer.VaSSO, weight=st.floats(0.01, 1), **second)
        | st.builds(outer.SATM, gamma=st.floats(0, 10), noise=noise, **second)
    )


experts = st.builds(
    ExpertConfig,
    count=st.integers(1, 200),
    lr=positive,
    momentum=momentum,
    batch_size=st.integers(1, 10**4),
    augment=st.none() | st.just("flip_rotate"),
    seed=st.integers(),
)
training = st.builds(
    SGDConfig, epochs=st.integers(0, 5000), lr=positive, milestones=st.lists(st.integers(), max_size=3).map(tuple)
)


def test_of_two_alternatives_the_changed_one_counts():
    rule = {"rule": {"radius": 0.05, "rho": None}, "experts": {"rho": 0.1}}
    lengths = ("radius", "rho")
    assert override(rule, {"rule.rho": 2.0}, either=lengths)["rule"] == {"radius": None, "rho": 2.0}
    assert override(rule, {"radius": 0.1}, either=lengths)["rule"] == {"radius": 0.1, "rho": None}
    assert override(rule, {"rule.rho": None}, either=lengths) == rule
    both = {"rule.radius": 0.1, "rule.rho": 2.0}
    assert override(rule, both, either=lengths)["rule"] == {"radius": 0.1, "rho": 2.0}  # which the rule refuses
    assert override(rule, {"experts.rho": 0.2}, either=lengths)["experts"] == {"rho": 0.2}


@given(wholes | satm_configs() | experts | training)
def test_round_trip_through_json(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


@given(wholes, parts)
def test_every_setting_can_be_overridden_by_its_dotted_name(whole, part):
    changes = {f"part.{name}": value for name, value in to_dict(part).items()}
    before = to_dict(whole)
    changed = override(before, changes | {"steps": 7})
    assert from_dict(Whole, changed) == replace(whole, steps=7, part=part)
    assert before == to_dict(whole)  # the argument did not change


@given(satm_configs(), satm_configs())
def test_overriding_everything_gives_the_other_configuration(one, other):
    assert from_dict(SATMConfig, override(to_dict(one), to_dict(other))) == other


def test_leading_parts_may_be_left_out_if_that_is_unambiguous():
    plain = to_dict(Whole(steps=1, other=Part(rate=2.0)))
    nested = {"method": plain, "seed": 0}
    assert override(nested, {"steps": 3})["method"]["steps"] == 3
    assert override(nested, {"other.rate": 3.0})["method"]["other"]["rate"] == 3.0
    with pytest.raises(ConfigError, match=r"^setting 'rate' is ambiguous: write part\.rate or other\.rate$"):
        override(plain, {"rate": 3.0})
    # A whole name wins over the end of a longer one.
    assert override({"rate": 1, "part": {"rate": 2}}, {"rate": 3}) == {"rate": 3, "part": {"rate": 2}}


@pytest.mark.parametrize("key", ["stepz", "part.ratee", "art.rate", "teps"])
def test_unknown_settings_are_refused_with_the_nearest(key):
    with pytest.raises(UnknownName, match=f"^unknown setting '{key}': did you mean "):
        override(to_dict(Whole(steps=1)), {key: 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1.5}, "setting steps is 1.5: expected a whole number"),
        ({"steps": True}, "setting steps is True: expected a whole number"),
        ({"steps": "1"}, "setting steps is '1': expected a whole number"),
        ({"steps": 1, "rates": 3.0}, "setting rates is 3.0: expected a list of a number"),
        ({"steps": 1, "rates": ["a"]}, "setting rates is 'a': expected a number"),
        ({"steps": 1, "number": "x"}, "setting number is 'x': expected a whole number or a number or null"),
        ({"steps": 1, "part": 3}, "setting part is 3: expected a table of settings"),
        ({"steps": 1, "part": {"rate": None}}, "setting part.rate is None: expected a number"),
        ({"steps": 1, "part": {"rate": 1, "kind": "c"}}, "setting part.kind is 'c': expected 'a' or 'b'"),
        ({"steps": 1, "part": {"rate": 1, "on": 1}}, "setting part.on is 1: expected true or false"),
        ({"steps": 1, "part": {"rate": 1, "name": 1}}, "setting part.name is 1: expected text or null"),
        ({"steps": 1, "part": {}}, "setting part.rate is missing; give it a value"),
        ({}, "setting steps is missing; give it a value"),
    ],
)
def test_wrong_values_are_one_line_that_names_the_setting(values, message):
    with pytest.raises(ConfigError) as caught:
        from_dict(Whole, values)
    assert str(caught.value) == message


def test_unknown_keys_of_a_nested_table_are_named_in_full():
    for values in ({"steps": 1, "part": {"rat": 1}}, {"steps": 1, "other": {"rat": 1}}):
        with pytest.raises(UnknownName, match=r"unknown setting '(part|other)\.rat': did you mean \1\.rate"):
            from_dict(Whole, values)


def test_whole_numbers_become_floats_if_the_setting_is_a_float():
    read = from_dict(Whole, {"steps": 1, "rates": [1, 2], "part": {"rate": 3}})
    assert [type(rate) for rate in (*read.rates, read.part.rate)] == [float] * 3
    assert {f.name for f in fields(read)} == set(to_dict(read))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    steps: int
    share: float = field(default=0.0, metadata=LATER)
    part: Part | None = field(default=None, metadata=LATER)


def test_a_field_that_was_added_later_is_left_out_at_its_default():
    assert to_dict(Grown(steps=1)) == {"steps": 1}
    assert to_dict(Grown(steps=1), whole=True) == {"steps": 1, "share": 0.0, "part": None}
    grown = Grown(steps=1, share=0.5, part=Part(rate=1.0))
    assert to_dict(grown) == {"steps": 1, "share": 0.5, "part": to_dict(Part(rate=1.0))}
    for each in (grown, Grown(steps=1)):
        assert from_dict(Grown, to_dict(each)) == each
