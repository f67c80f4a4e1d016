from __future__ import annotations

import math

import numpy as np
import pytest

from registry import Registry
from satm.errors import ConfigError, RegistryError, UnknownName
from tests.registry.helpers import SET, a_set, result, start


@pytest.fixture
def set_id(registry: Registry) -> str:
    return registry.add_set(SET, run=None).id


@pytest.fixture
def recipe_id(registry: Registry) -> str:
    return registry.add_recipe("smoke", {"epochs": 60})


def test_a_recipe_is_stored_once_and_an_altered_one_is_another(registry: Registry, recipe_id: str) -> None:
    assert registry.add_recipe("smoke", {"epochs": 60}) == recipe_id
    assert registry.add_recipe("smoke", {"epochs": 61}) != recipe_id
    assert registry.add_recipe("cpu", {"epochs": 60}) != recipe_id
    assert (registry.recipe(recipe_id).name, registry.recipe(recipe_id).config) == ("smoke", {"epochs": 60})
    with pytest.raises(RegistryError, match="in recipes"):
        registry.recipe("nobody")
    with pytest.raises(RegistryError, match="JSON"):
        registry.add_recipe("odd", {"decay": math.inf})


def test_results_come_back_as_they_were_and_are_replaced_by_their_key(
    registry: Registry, set_id: str, recipe_id: str
) -> None:
    first = result(set_id, recipe_id, detail={"order": [1, 0]}, run_id=start(registry))
    second = result(set_id, recipe_id, repeat=1)
    registry.add_results([second, first])
    registry.add_results([])
    assert registry.results() == [first, second]
    again = result(set_id, recipe_id, repeat=1, value=0.75, seed=9, step_size=0.1)
    registry.add_results([again])
    assert registry.results() == [first, again]


def test_streams_of_different_lengths_do_not_mix(registry: Registry, set_id: str, recipe_id: str) -> None:
    rows = [
        result(set_id, recipe_id, protocol="class-incremental", steps=steps, step=step, value=step / steps)
        for steps in (2, 5)
        for step in range(1, steps + 1)
    ]
    registry.add_results(rows)
    assert registry.results() == rows
    columns, found = registry.query("SELECT steps, step, mean FROM incremental")
    assert columns == ["steps", "step", "mean"]
    assert found == [(row.steps, row.step, row.value) for row in rows]
    assert registry.query("SELECT steps, step, mean FROM leaderboard ORDER BY steps")[1] == [(2, 2, 1.0), (5, 5, 1.0)]


def test_the_summary_is_the_mean_and_population_spread_of_the_repeats(
    registry: Registry, set_id: str, recipe_id: str
) -> None:
    values = 0.7 + 1e-9 * np.random.default_rng(0).normal(size=5)  # a one-pass formula would lose this spread
    registry.add_results([result(set_id, recipe_id, repeat=i, value=v) for i, v in enumerate(values.tolist())])
    registry.add_results([result(set_id, recipe_id, memory="random", value=0.25)])
    trained, random = registry.summary()
    assert (trained.n, trained.memory, trained.set_name, trained.recipe) == (
        5,
        "condensed",
        "cifar10/ipc2/satm@1",
        "smoke",
    )
    assert trained.mean == pytest.approx(values.mean(), rel=1e-15)
    assert trained.std == pytest.approx(values.std(ddof=0), rel=1e-6)
    assert (random.mean, random.std, random.n) == (0.25, 0.0, 1)
    assert registry.query("SELECT mean, std, n FROM leaderboard WHERE memory = 'condensed'")[1] == [
        (trained.mean, trained.std, 5)
    ]


@pytest.mark.parametrize(
    "apart",
    [
        {"profile": "paper"},
        {"architecture": "vgg11"},
        {"memory": "random"},
        {"metric": "forgetting"},
        {"protocol": "in-domain"},
        {"steps": 2, "step": 2},
    ],
)
def test_results_that_differ_in_kind_are_never_averaged(
    registry: Registry, set_id: str, recipe_id: str, apart: dict[str, object]
) -> None:
    registry.add_results([result(set_id, recipe_id), result(set_id, recipe_id, repeat=1, **apart)])
    assert [row.n for row in registry.summary()] == [1, 1]


def test_recipes_of_one_name_are_never_averaged(registry: Registry, set_id: str, recipe_id: str) -> None:
    altered = registry.add_recipe("smoke", {"epochs": 61})
    registry.add_results([result(set_id, recipe_id), result(set_id, altered)])
    assert {row.recipe_id for row in registry.summary()} == {recipe_id, altered}


def test_filters_choose_rows(registry: Registry, recipe_id: str) -> None:
    one = registry.add_set(SET, run=None)
    two = registry.add_set(a_set(2, dataset="digits", ipc=1, method="mtt"), run=None)
    rows = [
        result(one.id, recipe_id),
        result(
            two.id, recipe_id, protocol="class-incremental", architecture="vgg11", memory="random", metric="forgetting"
        ),
    ]
    rows[1:] = [
        result(
            two.id,
            recipe_id,
            profile="paper",
            steps=5,
            step=5,
            protocol="class-incremental",
            architecture="vgg11",
            memory="random",
            metric="forgetting",
        )
    ]
    registry.add_results(rows)
    for chosen, filters in [
        (rows[:1], {"dataset": "cifar10"}),
        (rows[1:], {"method": "mtt"}),
        (rows[1:], {"ipc": 1}),
        (rows[1:], {"protocol": "class-incremental"}),
        (rows[:1], {"architecture": "resnet18"}),
        (rows[:1], {"memory": "condensed"}),
        (rows[1:], {"set": "digits/ipc1/mtt"}),
        (rows[1:], {"metric": "forgetting"}),
        (rows[1:], {"profile": "paper"}),
        (rows[1:], {"steps": 5}),
        (rows[:1], {"recipe_id": recipe_id, "profile": "smoke", "dataset": None}),
        ([], {"dataset": "cifar10", "method": "mtt"}),
    ]:
        assert registry.results(**filters) == chosen, filters
        assert [row.set_id for row in registry.summary(**filters)] == [row.set_id for row in chosen], filters
    with pytest.raises(UnknownName):
        registry.results(set="digits/ipc9/mtt")
    with pytest.raises(TypeError, match="unknown filter 'datasett'"):
        registry.summary(datasett="cifar10")


@pytest.mark.parametrize(
    "bad",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": 1.01},
        {"value": -0.1},
        {"step": 0},
        {"step": 3, "steps": 2},
        {"repeat": -1},
    ],
)
def test_a_result_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        result("set", "recipe", **bad)


@pytest.mark.parametrize(
    "metric",
    [
        *("macro_accuracy", "masked_accuracy", "final_accuracy", "average_incremental_accuracy"),
        *("final_masked_accuracy", "average_masked_accuracy", "accuracy_on_step_3", "masked_accuracy_on_step_12"),
        "accuracy_on_step_1_untrained",
    ],
)
def test_percentages_are_no_fractions(metric: str) -> None:
    with pytest.raises(ConfigError, match=f"{metric} is 61.2: expected a fraction; divide percentages by 100"):
        result("set", "recipe", metric=metric, value=61.2)
    with pytest.raises(ConfigError, match=f"{metric} is nan: expected a finite number"):
        result("set", "recipe", metric=metric, value=math.nan)
    assert result("set", "recipe", metric="forgetting", value=-0.2).value == -0.2  # a drop can be negative
    assert result("set", "recipe", metric="accuracy_gain", value=2).value == 2  # another package's metric


def test_results_are_stored_all_or_none(registry: Registry, set_id: str, recipe_id: str) -> None:
    for stray in [result("nobody", recipe_id), result(set_id, "nobody"), result(set_id, recipe_id, run_id="nobody")]:
        with pytest.raises(RegistryError, match="store that first"):
            registry.add_results([result(set_id, recipe_id), stray])
    assert registry.results() == []
