"""Class-incremental evaluation of groups, and the differences between the memories of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, ExpertError
from satm.progress import NoProgress
from satm.statistics import compare, crossed
from satm.workflow.condense.seeds import condense_seeds
from satm.workflow.incremental.differences import depends_on_seed, difference, memory_differences, without_partner
from tests.registry.helpers import a_set, result

PATH = "cifar10/ipc2/satm"
Y = [[0.60, 0.64, 0.50], [0.62, 0.70, 0.51], [0.55, 0.61, 0.52]]  # [condensation, class order]
RANDOM = [0.40, 0.52, 0.41]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SATM_REGISTRY", str(tmp_path / "satm.db"))
    return tmp_path / "satm.db"


def store(path: Path, table: Sequence[Mapping[str, Sequence[float]]], recipe: Mapping[str, str] | None = None) -> None:
    """One set a seed, with the final accuracy of each memory by class order."""
    with Registry.open(path) as registry:
        for seed, memories in enumerate(table):
            held = registry.add_set(a_set(seed), run=None)
            for memory, values in memories.items():
                name = (recipe or {}).get(memory, "smoke")
                rows = [
                    result(held.id, registry.add_recipe(name, {"name": name}), protocol="class-incremental",
                           memory=memory, repeat=order, metric="final_accuracy", value=value, steps=2, step=2,
                           detail={"policy": "fixed"})
                    for order, value in enumerate(values)
                ]  # fmt: skip
                registry.add_results(rows)


def test_a_memory_is_paired_by_condensation_and_order(registry: Path) -> None:
    per_step = [[each - 0.1 - 0.01 * seed for each in row] for seed, row in enumerate(Y)]
    store(registry, [{"condensed": y, "condensed[per-step]": z} for y, z in zip(Y, per_step, strict=True)])
    (found,) = memory_differences(registry, PATH)
    assert (found.memory, found.other) == ("condensed", "condensed[per-step]")
    wanted = crossed([[0.1] * 3, [0.11] * 3, [0.12] * 3])
    assert found.estimate.mean == pytest.approx(0.11)
    assert found.estimate.ends() == pytest.approx(wanted.ends())
    assert (found.estimate.seeds, found.estimate.networks, found.left_out) == (3, 3, 0)
    assert found.estimate.scope == "new condensations and new class orders"


def test_random_images_are_the_same_for_every_condensation(registry: Path) -> None:
    """Their values of one set stand beside the condensed ones of every seed: d[s, o] = y[s, o] − random[o]."""
    store(registry, [{"condensed": y, **({"random": RANDOM} if seed == 1 else {})} for seed, y in enumerate(Y)])
    (found,) = memory_differences(registry, PATH)
    d = [[value - other for value, other in zip(row, RANDOM, strict=True)] for row in Y]
    wanted = compare(Y, [RANDOM] * 3).difference
    assert wanted.ends() == pytest.approx(crossed(d).ends())
    assert found.estimate.ends() == pytest.approx(wanted.ends())
    assert (found.estimate.n, found.estimate.counts) == (3, "condensations")


def test_one_set_speaks_of_itself(registry: Path) -> None:
    store(registry, [{"condensed": y, "random": RANDOM} for y in Y])
    (found,) = memory_differences(registry, f"{PATH}@1")
    assert (found.estimate.n, found.estimate.counts, found.estimate.scope) == (3, "orders", "this set only")
    # d = 0.20, 0.12, 0.09: mean 0.41/3, s = 0.05686, t(0.975, 2) = 4.3027.
    assert found.estimate.ends() == pytest.approx((0.41 / 3 - 0.14125, 0.41 / 3 + 0.14125), abs=1e-4)
    (pair,) = memory_differences(registry, f"{PATH}@1-2")
    assert pair.estimate.n == 2
    assert pair.estimate.ends() is None


def test_fewer_than_three_orders_have_no_interval() -> None:
    found = difference({seed: {0: 0.1, 1: 0.2 + 0.1 * seed} for seed in range(5)})
    assert found is not None
    assert (found[0].ends(), found[0].p(), found[0].scope) == (None, None, "these class orders only")
    one = difference({seed: {0: 0.1 * seed} for seed in range(5)})
    assert one is not None
    assert (one[0].ends(), one[0].n, one[0].mean) == (None, 5, pytest.approx(0.2))
    assert difference({0: {0: 0.1}, 1: {1: 0.1}}) is None
    assert difference({0: {}}) is None


def test_orders_that_a_seed_lacks_are_left_out() -> None:
    found = difference({0: {0: 0.1, 1: 0.3}, 1: {0: 0.3}, 2: {}})
    assert found is not None
    assert (found[0].mean, found[0].seeds, found[0].networks, found[1]) == (pytest.approx(0.2), 2, 1, 1)


def test_other_recipes_are_named_and_not_compared(registry: Path) -> None:
    store(registry, [{"condensed": y, "random": RANDOM} for y in Y], {"random": "smoke, lr grid (5 networks)"})
    assert memory_differences(registry, PATH) == []
    assert without_partner(registry, PATH) == [("condensed", "random")]


def test_herding_depends_on_the_seed_of_its_expert(registry: Path) -> None:
    def sets(*seeds: int) -> list[Any]:
        with Registry.open(registry) as opened:
            configs = [{"condense": {"experts": {"seed": seed}}} for seed in seeds]
            return [
                opened.add_set(a_set(number + seeds[-1] * 10, config=each), run=None)
                for number, each in enumerate(configs)
            ]

    own, shared = sets(0, 1, 2), sets(5, 5, 5)
    assert depends_on_seed("condensed[per-step]", shared)
    assert depends_on_seed("herding", own)
    assert not depends_on_seed("herding[bytes]", shared)
    assert not depends_on_seed("random", own)
    assert not depends_on_seed("none", own)


class Messages(NoProgress):
    """Keeps what is said, and the names of the bars."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def bar(self, name: str, total: int, *, done: int = 0) -> Any:
        self.bars.append(name)
        return super().bar(name, total, done=done)


@pytest.fixture
def group(registry: Path) -> str:
    """Two tiny sets of digits that differ in the seed, the experts' too."""
    settings = {"outer_steps": 1, "inner_steps": 2, "architecture": "convnet3_w4", "diagnostics_every": 0}
    preset = satm.choose_preset("digits", ipc=1, profile="smoke", settings=settings)
    return condense_seeds(preset, [0, 1], registry=registry).name


QUICK: dict[str, Any] = {"steps": 2, "orders": 2, "networks": 1, "learning_rate": 0.05}


def test_every_set_of_a_group_is_judged_on_the_same_orders(
    group: str, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = satm.evaluate_incremental(group, registry=registry, **QUICK)
    assert (found.name, found.seeds) == ("digits/ipc1/satm", (0, 1))
    messages = Messages()
    satm.evaluate_incremental(group, memory="random", registry=registry, progress=messages, **QUICK)
    assert (
        "memory random is the same for every set of digits/ipc1/satm: judged once, beside digits/ipc1/satm@1"
        in messages.said
    )
    with Registry.open(registry, read_only=True) as opened:
        rows = [row for row in opened.results() if row.metric == "final_accuracy"]
        # Random images stay beside the set that has them.
        assert {row.set_id for row in rows if row.memory == "random"} == {opened.find("digits/ipc1/satm@1").id}
    condensed = {(row.set_id, row.repeat): row for row in rows if row.memory == "condensed"}
    assert len(condensed) == 4
    orders = {(row.repeat, tuple(row.detail["class_order"])) for row in condensed.values()}
    assert len(orders) == 2
    assert len({row.value for row in condensed.values()}) > 1
    arguments = ["--steps", "2", "--orders", "2", "--networks", "1", "--learning-rate", "0.05", "--threads", "1"]
    assert run(["eval-cl", group, *arguments]) == 0
    out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    (line,) = [each for each in out if each.startswith("final_accuracy ")]
    assert line.endswith("2 condensations × 2 orders")


def test_each_set_of_a_group_is_condensed_per_step_under_its_own_seed(group: str, registry: Path) -> None:
    request = QUICK | {"orders": 1, "learning_rate": "learned"}
    satm.evaluate_incremental(group, condense_per_step=True, registry=registry, **request)
    with Registry.open(registry, read_only=True) as opened:
        parents = opened.group(group).sets
        for parent in parents:
            children = [each for each in opened.sets() if f"set:{parent.id}" in each.parents]
            assert [each.seed for each in children] == [parent.seed] * 2
            configs = [opened.load(each.id).config["condense"] for each in children]
            assert {each["experts"]["seed"] for each in configs} == {parent.seed}
            (parts,) = {
                tuple(row.detail["parts"]) for row in opened.results(set=parent.id, memory="condensed[per-step]")
            }
            assert set(parts) == {each.id for each in children}


def test_all_sets_and_policies_are_checked_before_a_network_is_trained(
    group: str, registry: Path, tmp_path: Path
) -> None:
    """Herding's expert of the second set is missing: nothing is trained for the first."""
    with Registry.open(registry) as opened:
        lost = opened.load("digits/ipc1/satm@2").parents
    experts = tmp_path / "home" / "experts"
    names = [each.removeprefix("experts:") for each in lost if each.startswith("experts:")]
    gone = [path for path in experts.rglob("*") if path.is_file() and any(name in str(path) for name in names)]
    assert gone
    for path in gone:
        path.unlink()
    messages = Messages()
    with pytest.raises(ExpertError, match=r"--set experts\.seed=1"):
        satm.evaluate_incremental(group, memory="herding", registry=registry, progress=messages, **QUICK)
    with pytest.raises(ConfigError, match="state a number"):
        satm.evaluate_incremental(
            group, protocol="der", registry=registry, progress=messages, **QUICK | {"learning_rate": "both"}
        )
    assert not messages.bars
    with Registry.open(registry, read_only=True) as opened:
        assert not opened.results()
        assert not opened.runs(kind="eval-cl")
