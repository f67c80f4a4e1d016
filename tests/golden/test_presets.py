"""Every `paper` preset equals what was published (`published.csv`), or the difference is listed with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest

from satm.data import CATALOGUE
from satm.errors import ConfigError
from satm.methods import METHODS, OUTER
from satm.presets import NUMBERS, Numbers, Row, find_preset
from tests.golden.compared import (
    DEPARTURES,
    ELSEWHERE,
    EVERYWHERE,
    OTHER_DATA,
    OTHER_IPC,
    PRESETS,
    REQUESTS,
    TRAJECTORY,
    Asked,
    Tables,
    Value,
    differences,
    expected,
    left_out,
    preset_of,
    reader,
    same,
    table,
    whole,
)


def test_every_paper_preset_is_the_published_one_or_says_how_it_differs() -> None:
    assert not [wrong for asked in REQUESTS for wrong in differences(asked)]


def test_every_listed_departure_is_a_published_value() -> None:
    found = {(a.method, a.dataset, row.parameter, row.value) for a in REQUESTS for row in expected(a)}
    assert set(DEPARTURES) <= found


def test_every_published_value_is_compared_or_listed() -> None:
    reached = {row for asked in REQUESTS for row in expected(asked) if reader(row)}
    overruled = {(row.method, row.parameter) for row in reached}
    for row in table():
        if row.method.partition("/")[0] in ELSEWHERE or left_out(row) or row.dataset in OTHER_DATA:
            continue
        assert row.method in PRESETS, row
        if reader(row) is None or row.ipc in OTHER_IPC or row in reached:
            continue
        assert (row.method, row.parameter) in overruled, row  # a default that every row replaces


def test_a_parameter_that_nobody_listed_is_an_error() -> None:
    with pytest.raises(KeyError):
        reader(Value("mtt", "cifar10", "1", "", "a_new_parameter", "1", ""))


def test_asams_eta_is_its_codes() -> None:
    (published,) = [row for row in table() if (row.method, row.parameter, row.variant) == ("asam", "eta", "asam.py")]
    assert same(OUTER.get("asam").config().eta, published.value)


def counted() -> list[str]:
    """The table of docs/fidelity.md: for each method, how many published values are equal, departures, or neither."""
    departing = {row for asked in REQUESTS for row in expected(asked) if departs(asked, row)}
    reached = {row for asked in REQUESTS for row in expected(asked) if reader(row)}
    lines = []
    for method in PRESETS:
        rows = [row for row in table() if row.method == method and not left_out(row) and row.dataset not in OTHER_DATA]
        compared = [row for row in rows if row in reached]
        differ = sum(row in departing for row in compared)
        unread = sum(reader(row) is None for row in rows)
        replaced = len(rows) - len(compared) - unread
        lines.append(f"| `{method}` | {len(rows)} | {len(compared) - differ} | {differ} | {replaced} | {unread} |")
    return lines


def departs(asked: Asked, row: Value) -> bool:
    return (row.method, asked.dataset, row.parameter, row.value) in DEPARTURES


def test_the_page_counts_what_is_compared() -> None:
    page = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text()
    lines = counted()
    assert all(line in page for line in lines), "docs/fidelity.md should say:\n" + "\n".join(lines)


# A preset that takes other numbers says so.


@pytest.mark.parametrize("method", METHODS.known())
def test_a_preset_that_falls_back_to_other_numbers_says_so(method: str) -> None:
    own = NUMBERS[method]
    for dataset in CATALOGUE:
        for ipc in (1, 2, 3, 10, 50, 100, 500):
            said = preset_of(Asked(method, dataset, ipc)).departures
            if METHODS.get(method).matches_trajectories:
                exact = any((row.dataset, row.ipc) == (dataset, ipc) for row in own.rows)
                assert exact or any(each.startswith(("no numbers", "the paper's base")) for each in said)
                if any(row.settings for row in own.rows):
                    assert exact or any(each.startswith("no settings") for each in said)
            elif own.by_ipc or dataset in own.by_set:
                exact = ipc in own.by_ipc or ipc in own.by_set.get(dataset, {})
                assert exact or any(each.startswith(f"no numbers for IPC {ipc}: those of IPC") for each in said)


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
def test_smaller_scales_say_whose_numbers_they_take(profile: str) -> None:
    for method in METHODS.known():
        if METHODS.get(method).matches_trajectories and method != "satm":
            said = find_preset("cifar10", 10, method=method, profile=profile).departures
            assert any("SATM's numbers for every method" in each for each in said)


# Mutations: one value of one table is changed, and the comparison above notices.


def moved(value: object) -> list[object]:
    """Other values in place of `value`."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value * 2, value / 2] if isinstance(value, float) else [value + 1, max(1, value * 2)]
    if value is None:
        return [7]
    if isinstance(value, str):
        return [
            {
                "real": "noise",
                "clustered": "real",
                "noise": "real",
                "right": "real",
                "normal": "learned",
                "squared": "absolute",
                "hard": "teacher",
                "teacher": "hard",
            }[value]
        ]
    return list(_moved_fields(value))


def _moved_fields(value: object) -> Iterator[object]:
    """`value`, a dataclass, with one field changed, each in its turn. Values that the class refuses are left out."""
    for each in fields(value):  # type: ignore[arg-type]
        for other in moved_field(value, each.name):
            with suppress(ConfigError):
                yield replace(value, **{each.name: other})  # type: ignore[type-var]


def moved_field(value: object, name: str) -> list[object]:
    held = getattr(value, name)
    return [] if name in ("rule", "decay") else moved(held)


IN_WORDS = ("method", "dataset", "ipc", "source", "departures", "donor")
"""Fields of a row that hold no number, or that the request finds it by."""


def mutants(row: Row) -> Iterator[Row]:
    for each in fields(Row):
        value = getattr(row, each.name)
        if each.name in IN_WORDS or (each.name in ("flat", "filter") and value is None):
            continue
        if each.name == "settings":
            for key, held in value.items():
                for other in moved(held):
                    yield replace(row, settings={**value, key: other})
        else:
            for other in moved(value):
                yield replace(row, **{each.name: other})


def noticed(asked: Asked, tables: Tables) -> bool:
    """Whether the comparison notices other tables: a difference, or a configuration that is refused."""
    try:
        return bool(differences(asked, tables))
    except ConfigError:
        return True


def equivalent(asked: Asked, tables: Tables) -> bool:
    """Whether other tables make the same configuration: the profile has a limit, or a batch is larger than the set."""

    def made(from_tables: Tables) -> object:
        config = preset_of(asked, from_tables).config
        batch = getattr(config.settings, "batch_syn", None)
        return (
            config
            if batch is None or batch < whole(asked)
            else replace(config, settings=replace(config.settings, batch_syn=None))
        )

    return made(tables) == made(NUMBERS)


@pytest.mark.parametrize("method", [*TRAJECTORY, "pad"])
def test_a_row_with_one_value_changed_is_noticed(method: str) -> None:
    for index, row in enumerate(NUMBERS[method].rows):
        asked = Asked(method, row.dataset, row.ipc)
        assert not noticed(asked, NUMBERS)
        for mutant in mutants(row):
            rows = (*NUMBERS[method].rows[:index], mutant, *NUMBERS[method].rows[index + 1 :])
            tables = {**NUMBERS, method: replace(NUMBERS[method], rows=rows)}
            assert noticed(asked, tables) or equivalent(asked, tables), f"{asked}: {mutant} goes unnoticed"


@pytest.mark.parametrize("method", [*EVERYWHERE, "rded", "idc", "dream"])
def test_a_printed_number_that_changes_is_noticed(method: str) -> None:
    own = NUMBERS[method]
    among = ("cifar10", "cifar100", "tiny-imagenet", "imagenette", *own.by_set)
    asked = [each for each in REQUESTS if each.method == method and each.dataset in among]
    for mutant in changed(own):
        tables = {**NUMBERS, method: mutant}
        assert any(noticed(each, tables) for each in asked), f"{method}: {mutant} goes unnoticed"


def changed(own: Numbers) -> Iterator[Numbers]:
    """`own` with one value changed, each in its turn."""
    for key, held in own.values.items():
        for other in moved(held):
            yield replace(own, values={**own.values, key: other})
    for key, each in own.per_image.items():
        yield replace(own, per_image={**own.per_image, key: 2 * each})
    for ipc, found in own.by_ipc.items():
        for key, held in found.items():
            yield replace(own, by_ipc={**own.by_ipc, ipc: {**found, key: moved(held)[0]}})
    for dataset, by_ipc in own.by_set.items():
        for ipc, found in by_ipc.items():
            for key, held in found.items():
                more = {**by_ipc, ipc: {**found, key: moved(held)[0]}}
                yield replace(own, by_set={**own.by_set, dataset: more})


@pytest.mark.parametrize("method", ["herding", "kcenter"])
def test_the_experts_of_a_selection_are_as_long_as_mtts(method: str) -> None:
    (epochs,) = {row.value for row in table() if (row.method, row.parameter) == ("mtt", "buffer.train_epochs")}
    assert preset_of(Asked(method, "cifar10", 10)).config.settings.expert_epochs == int(epochs)
