"""Class-incremental evaluation of stored sets: memories, budgets, per-step condensation, resumption, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest
import torch

import satm
from protocols.published import PUBLISHED
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, Interrupted
from satm.preprocessing import MeanStd
from satm.presets import class_incremental_repeats
from satm.progress import NoProgress
from satm.synthetic import SyntheticSet
from satm.workflow.incremental.differences import order_means, paired_by_order
from satm.workflow.incremental.memories import real_images_a_class, tensor_bytes
from satm.workflow.incremental.naming import repeat_of
from satm.workflow.incremental.per_step import joined

QUICK = {"steps": 2, "orders": 1, "networks": 1}


def synthetic(labels: torch.Tensor, kind: str = "hard", classes: int = 4, **changes: Any) -> SyntheticSet:
    facts: dict[str, Any] = {
        "images": torch.arange(len(labels)).float()[:, None, None, None].expand(-1, 1, 4, 4).clone(),
        "labels": labels,
        "label_kind": kind,
        "step_size": 0.1,
        "dataset": "toy",
        "classes": tuple("abcdefghij"[:classes]),
        "ipc": len(labels) // classes,
        "method": "toy",
        "preprocessing": MeanStd((0.5,), (0.5,)),
        "profile": "smoke",
        "seed": 0,
    }
    return SyntheticSet(**(facts | changes))


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """One quick set of digits in a registry; `evaluate_incremental` on it, and its rows."""
    monkeypatch.setenv("SATM_REGISTRY", str(tmp_path / "satm.db"))
    settings = {"outer_steps": 1, "inner_steps": 2, "architecture": "convnet3_w4", "diagnostics_every": 0}
    preset = satm.choose_preset("digits", ipc=1, profile="smoke", settings=settings)
    satm.condense(preset, registry=tmp_path / "satm.db")

    def evaluate(**changes: Any) -> list[Any]:
        satm.evaluate_incremental("digits/ipc1/satm@1", registry=tmp_path / "satm.db", **(QUICK | changes))
        with Registry.open(tmp_path / "satm.db", read_only=True) as store:
            return store.results(set="digits/ipc1/satm@1")

    return evaluate


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def command(code: int, *arguments: str) -> str:
        assert run(["eval-cl", *arguments, "--threads", "1"]) == code
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return line

    return command


def test_the_fields_experiment_is_five_orders_of_three_networks() -> None:
    for label in ("paper", "cpu", "custom", "foreign"):
        assert class_incremental_repeats(label) == (5, 3)
    assert [repeat_of(order, network) for order, network in ((0, 0), (2, 0), (2, 1))] == [0, 2, 1002]


def test_networks_of_an_order_are_repeats_of_their_own(digits: Callable[..., Any]) -> None:
    rows = digits(orders=2, networks=2)
    final = {row.repeat: row for row in rows if row.metric == "final_accuracy"}
    assert sorted(final) == [0, 1, 1000, 1001]
    orders = {repeat: row.detail["class_order"] for repeat, row in final.items()}
    assert orders[0] == orders[1000] != orders[1] == orders[1001]
    assert len({row.seed for row in final.values()}) == 4
    assert {row.detail["condensed"] for row in rows} == {"whole set, split along the class order"}
    assert rows[0].detail["budget"] == {"images": 10, "bytes": 10 * 256 * 4}
    (summary,) = satm.results(registry=_path(), metric="final_accuracy", protocol="class-incremental")
    assert summary.n == 2


def test_summaries_count_orders_and_more_networks_of_one_order_do_not_move_the_mean(
    digits: Callable[..., Any],
) -> None:
    digits(orders=2, networks=1)
    rows = digits(orders=1, networks=3)
    values = {row.repeat: row.value for row in rows if row.metric == "final_accuracy"}
    assert sorted(values) == [0, 1, 1000, 2000]
    means = [fmean(values[repeat] for repeat in (0, 1000, 2000)), values[1]]
    (summary,) = satm.results(registry=_path(), metric="final_accuracy", protocol="class-incremental")
    assert summary.n == 2
    assert (summary.mean, summary.std) == (pytest.approx(fmean(means)), pytest.approx(pstdev(means)))


def test_memories_are_compared_by_their_order_means() -> None:
    # Orders 0 and 1. Order 0 has a second network in both, order 2 and a third network only in one.
    ours = {0: 0.6, 1000: 0.8, 2000: 0.1, 1: 0.5, 2: 0.9}
    theirs = {0: 0.5, 1000: 0.5, 1: 0.1}
    assert order_means(ours) == pytest.approx({0: 0.5, 1: 0.5, 2: 0.9})
    assert paired_by_order(ours, theirs) == pytest.approx({0: (0.1 + 0.3) / 2, 1: 0.4})
    assert paired_by_order({0: 0.5}, {1: 0.5}) == {}


def test_the_command_prints_differences_between_memories(
    digits: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    digits(orders=2, learning_rate=0.05)
    arguments = ["--steps", "2", "--orders", "2", "--networks", "1", "--learning-rate", "0.05", "--threads", "1"]
    assert run(["eval-cl", *arguments, "--memory", "random"]) == 0
    out = capsys.readouterr().out
    assert "differences between memories in points, paired by condensation and class order" in " ".join(out.split())
    assert "condensed[whole] − random" in out
    (line,) = [each for each in out.splitlines() if each.startswith("final_accuracy")]
    assert line.endswith(" 2 orders, this set only")
    assert "average_incremental_accuracy" in out
    assert "forgetting" not in out


def test_both_matrices_are_stored_at_every_step(digits: Callable[..., Any]) -> None:
    rows = digits(steps=3, learning_rate=0.05)
    found = {(row.metric, row.step) for row in rows}
    for step in (1, 2, 3):
        assert {(f"{mask}accuracy_on_step_{j}", step) for mask in ("", "masked_") for j in (1, 2, 3)} <= found
    assert {(f"{mask}accuracy_on_step_{j}_untrained", 3) for mask in ("", "masked_") for j in (1, 2, 3)} <= found
    values = {(row.metric, row.step): row.value for row in rows}
    assert all(values[f"masked_accuracy_on_step_{j}", 3] >= values[f"accuracy_on_step_{j}", 3] for j in (1, 2, 3))


def test_class_orders_and_bases_are_kept_apart(digits: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "order").write_text("\n".join("9876543210"))
    digits(learning_rate=0.05)
    rows = digits(learning_rate=0.05, order=str(tmp_path / "order"), base=6, steps=3)
    digits(learning_rate=0.05, order="field", orders=2)
    names = {row.protocol for row in rows}
    (name,) = names - {"class-incremental"}
    assert name.startswith("class-incremental/gdumb[order file ")
    assert name.endswith(", base 6]")
    last = next(row for row in rows if row.protocol == name and row.metric == "accuracy")
    assert last.detail["classes_by_step"] == [[9, 8, 7, 6, 5, 4], [3, 2], [1, 0]]
    found = satm.results(registry=_path(), metric="final_accuracy", protocol="class-incremental")
    assert {each.protocol: each.n for each in found} == {
        "class-incremental": 1, name: 1, "class-incremental/gdumb[order field]": 2,
    }  # fmt: skip


def test_a_fixed_buffer_beside_the_growing_one(digits: Callable[..., Any]) -> None:
    digits(memory="random", learning_rate=0.05)
    messages = Messages()
    digits(memory="random", learning_rate=0.05, buffer=20, steps=5)
    rows = digits(learning_rate=0.05, buffer=10, steps=5, progress=messages)
    held = {}
    for row in rows:
        if row.metric == "accuracy":
            held.setdefault(row.memory, []).append((row.step, row.detail["memory_size"]))
    assert held == {
        "random": [(1, 5), (2, 10)],
        "random[M=20]": [(step, 20) for step in range(1, 6)],
        "condensed[M=10]": [(step, 2 * step) for step in range(1, 6)],
    }
    assert "digits/ipc1/satm@1 has 1 images a class: after the first step the buffer of 10 holds 2" in messages.said
    budgets = {row.memory: row.detail["budget"] for row in rows}
    assert budgets["random[M=20]"] == {"equal in": "buffer", "images": 20, "bytes": 20 * 256}
    assert budgets["condensed[M=10]"] == {"images": 10, "bytes": 10 * 256 * 4}


def test_logits_count_in_the_bytes_of_a_memory(digits: Callable[..., Any]) -> None:
    digits(protocol="der", recipe="smoke")
    rows = digits(protocol="der", recipe="smoke", memory="random", budget="bytes")
    budgets = {row.memory: row.detail["budget"]["bytes"] for row in rows}
    # A condensed image has 4·256 bytes and 40 of logits, a real one 256 and 40: three of them for one.
    assert budgets == {"condensed": 10 * (1024 + 40), "random[bytes+logits]": 30 * (256 + 40)}


def test_what_saw_classes_before_they_arrived_is_said(digits: Callable[..., Any]) -> None:
    messages = Messages()
    rows = digits(learning_rate="grid", recipe="smoke", progress=messages)
    grid = "the learning rate was chosen on validation images of all classes"
    assert rows[0].detail["saw_all_classes"] == ["the set was condensed as a whole", grid]
    assert "classes are known before they arrive: the set was condensed as a whole" in messages.said
    assert f"classes are known before they arrive: {grid}" in messages.said
    rows = digits(memory="random", learning_rate=0.05)
    assert [row for row in rows if row.memory == "random"]
    assert not [row for row in rows if row.memory == "random" and "saw_all_classes" in row.detail]


def test_a_replay_weight_is_a_setting_of_replay(digits: Callable[..., Any]) -> None:
    digits(protocol="replay", recipe="smoke")
    digits(protocol="replay", recipe="smoke", replay_weight=0.3)
    with Registry.open(_path(), read_only=True) as store:
        recipes = [store.recipe(row.recipe_id) for row in store.results() if row.metric == "final_accuracy"]
    assert {each.name for each in recipes} == {"replay smoke", "replay smoke, replay_weight 0.3"}
    # The default is not written, so that earlier results keep their recipe.
    assert {each.config.get("replay_weight") for each in recipes} == {None, 0.3}
    assert "replay_weight" not in min(recipes, key=lambda each: len(each.name)).config


def _path() -> str:
    import os

    return os.environ["SATM_REGISTRY"]


@pytest.mark.parametrize("protocol", ["replay", "der", "gdumb-original", "cumulative", "joint"])
def test_protocols_are_stored_by_their_names(digits: Callable[..., Any], protocol: str) -> None:
    rows = digits(protocol=protocol, recipe="smoke")
    assert {row.protocol for row in rows} == {f"class-incremental/{protocol}"}
    assert {row.memory for row in rows} == {"none" if protocol in ("cumulative", "joint") else "condensed"}
    assert satm.results(registry=_path(), protocol="class-incremental", metric="final_accuracy")
    _, view = satm.query("select distinct protocol from incremental", registry=_path())
    assert view == [(f"class-incremental/{protocol}",)]


class Messages(NoProgress):
    """Keeps every message."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_the_original_gdumb_trains_by_its_own_recipe(digits: Callable[..., Any]) -> None:
    messages = Messages()
    digits(protocol="gdumb-original", dry_run=True, progress=messages)
    assert "recipe prabhu2020" in messages.said[-1]
    digits(protocol="gdumb-original", recipe="smoke", dry_run=True, progress=messages)
    assert "recipe smoke" in messages.said[-1]


def test_a_dry_run_says_how_many_steps_would_be_condensed(digits: Callable[..., Any]) -> None:
    messages = Messages()
    digits(condense_per_step=True, steps=5, orders=1, dry_run=True, progress=messages)
    assert "condenses 5 steps on their own" in messages.said[-1]
    # Another order has other steps, except by chance.
    digits(condense_per_step=True, steps=5, orders=3, dry_run=True, progress=messages)
    assert 5 < int(messages.said[-1].split()[1]) <= 15


class StopAt(NoProgress):
    """Asks to stop at call number `at` of `stopping`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def stopping(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize("protocol", ["gdumb", "der"])
def test_interrupted_and_continued_stores_the_same_numbers(
    digits: Callable[..., Any], tmp_path: Path, protocol: str
) -> None:
    request = {"protocol": protocol, "steps": 3, "recipe": "smoke", "learning_rate": 0.05}
    # In the middle of the second step: gdumb asks after every epoch, der before every batch.
    with pytest.raises(Interrupted):
        digits(**request, progress=StopAt({"gdumb": 70, "der": 30}[protocol]))
    with Registry.open(_path(), read_only=True) as store:
        assert {row.step for row in store.results()} == {1}
        (broken,) = store.runs(kind="eval-cl")
        assert broken.status == "interrupted"
    counted = Counted()
    continued = digits(**request, progress=counted)
    assert counted.trained == 2  # of three steps
    assert not list((tmp_path / "home" / "runs").glob("*.safetensors"))
    (tmp_path / "satm.db").rename(tmp_path / "stopped.db")
    _same_set(tmp_path)
    whole = digits(**request)
    assert [(row.metric, row.step, row.value) for row in continued] == [
        (row.metric, row.step, row.value) for row in whole
    ]
    again = Counted()
    assert digits(**request, progress=again) == whole
    assert again.trained == 0


class Counted(NoProgress):
    """Counts the steps that are trained."""

    trained = 0

    def bar(self, name: str, total: int, *, done: int = 0) -> Any:
        self.trained += name.startswith(("training on", "step "))
        return super().bar(name, total, done=done)


def _same_set(folder: Path) -> None:
    """A new registry with the set of the stopped one."""
    with Registry.open(folder / "stopped.db", read_only=True) as old, Registry.open(folder / "satm.db") as new:
        new.add_set(old.load("digits/ipc1/satm@1"), run=None)


def test_each_step_condensed_on_its_own(digits: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    rows = digits(condense_per_step=True, steps=5)
    assert {row.memory for row in rows} == {"condensed[per-step]"}
    assert {row.detail["condensed"] for row in rows} == {"each step's classes on their own"}
    with Registry.open(_path(), read_only=True) as store:
        source = store.find("digits/ipc1/satm@1")
        children = [each for each in store.sets() if f"set:{source.id}" in each.parents]
        assert len(children) == 5
        assert store.find("latest").id == source.id
        groups = next(row for row in rows if row.metric == "accuracy").detail["classes_by_step"]
        assert [each.name for each in children] == [
            f"digits:{','.join(map(str, sorted(group)))}/ipc1/satm@1" for group in groups
        ]
        sets = [store.load(each.id) for each in children]
        experts = {parent for each in children for parent in each.parents if parent.startswith("experts:")}
    assert len(experts) == 5  # each step's own
    assert all(len(each.classes) == 2 and len(each) == 2 for each in sets)
    assert set(rows[0].detail["parts"]) == {each.id for each in children}
    # The learning rate of a step is the mean of the step sizes held.
    means = [sum(each.step_size or 0 for each in sets[: k + 1]) / (k + 1) for k in range(5)]
    assert [row.step_size for row in rows if row.metric == "accuracy"] == pytest.approx(means)
    digits(condense_per_step=True, steps=5)
    with Registry.open(_path(), read_only=True) as store:
        assert len(store.sets()) == 6
    # A step's set is a normal set, judged on its own classes.
    assert run(["eval", children[0].name, "--repeats", "1", "--threads", "1"]) == 0
    assert "in-domain" in capsys.readouterr().out


def test_joined_sets_are_one_memory_of_all_classes() -> None:
    whole = synthetic(torch.arange(4))
    parts = [synthetic(torch.tensor([0, 1]), classes=2, step_size=size) for size in (0.1, 0.3)]
    memory = joined(whole, parts, ((3, 0), (2, 1)))
    assert memory.labels.tolist() == [0, 1, 2, 3]
    # The parts' first images are of classes 0 and 1, the smaller of each group.
    assert memory.images[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    assert memory.step_size == pytest.approx(0.2)
    soft = replace(parts[0], labels=torch.tensor([[0.9, 0.1], [0.2, 0.8]]), label_kind="probabilities")
    memory = joined(whole, [soft, parts[1]], ((3, 0), (2, 1)))
    assert memory.label_kind == "probabilities"
    wanted = [[0.9, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0.2, 0, 0, 0.8]]
    torch.testing.assert_close(memory.labels, torch.tensor(wanted))
    assert memory.hard_labels.tolist() == [0, 1, 2, 3]
    logits = replace(soft, labels=torch.tensor([[2.0, 0.0], [0.0, 2.0]]), label_kind="logits")
    memory = joined(whole, [logits, parts[1]], ((3, 0), (2, 1)))
    assert memory.label_kind == "probabilities"
    torch.testing.assert_close(memory.labels.sum(1), torch.ones(4))
    assert joined(whole, [parts[0], replace(parts[1], step_size=None)], ((3, 0), (2, 1))).step_size is None


def test_a_budget_in_bytes() -> None:
    hard = synthetic(torch.arange(4).repeat_interleave(2))
    assert tensor_bytes(hard) == 8 * 16 * 4
    assert real_images_a_class(hard, "images") == 2
    assert real_images_a_class(hard, "bytes") == 8  # a byte a value for four
    soft = synthetic(torch.full((8, 4), 0.25), "probabilities")
    assert tensor_bytes(soft) == 8 * (16 * 4 + 4 * 4)
    assert real_images_a_class(soft, "bytes") == 10  # the labels buy two more


def test_real_images_at_equal_budgets(digits: Callable[..., Any]) -> None:
    digits(memory="random", budget="bytes", learning_rate=0.05)
    rows = digits(memory="random", learning_rate=0.05)
    held = {(row.memory, row.step): row.detail["memory_size"] for row in rows if row.metric == "accuracy"}
    assert held == {("random", 1): 5, ("random", 2): 10, ("random[bytes]", 1): 20, ("random[bytes]", 2): 40}
    budgets = {row.memory: row.detail["budget"] for row in rows}
    assert budgets["random[bytes]"] == {"equal in": "bytes", "images": 40, "bytes": 10 * 256 * 4}
    assert budgets["random"] == {"equal in": "images", "images": 10, "bytes": 10 * 256}


def test_herding_asks_for_its_expert_by_the_command_that_trains_it(
    digits: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    import shutil

    shutil.rmtree(tmp_path / "home" / "experts")
    line = refused(1, "--memory", "herding", "--steps", "2")
    command = line.split("satm experts ")[1].split()
    assert " ".join(command) == "digits --ipc 1 --method herding --profile smoke --set architecture=convnet3_w4"
    with Registry.open(_path(), read_only=True) as store:
        assert not store.results()
    assert run(["experts", *command, "--threads", "1"]) == 0
    rows = digits(memory="herding", learning_rate=0.05)
    assert {row.memory for row in rows} == {"herding"}


def test_the_papers_settings() -> None:
    figures = [PUBLISHED.get(name) for name in PUBLISHED]
    assert {each.name: (each.dataset, each.ipc, each.steps) for each in figures} == {
        "figure1-left": ("cifar10", 50, 5),
        "figure1-middle": ("tiny-imagenet", 3, 10),
        "figure1-right": ("tiny-imagenet", 3, 20),
        "idc-cifar100": ("cifar100", 20, 5),
        "ssd-cifar100": ("cifar100", 10, 10),
    }
    assert all(any(name in each.source for name in ("Figure 1", "IDC", "SSD")) for each in figures)
    assert PUBLISHED.summaries()["figure1-left"] == "SATM's Figure 1, left: CIFAR-10, IPC 50, 5 steps"


def test_preset_is_the_old_name_of_published(digits: Callable[..., Any]) -> None:
    messages = Messages()
    digits(preset="figure1-left", steps=None, dry_run=True, progress=messages)
    assert any(line.startswith("published comparison figure1-left: SATM") for line in messages.said)
    with pytest.raises(ConfigError, match="published figure1-left and preset figure1-right: these are one option"):
        digits(published="figure1-left", preset="figure1-right")


def test_a_preset_on_another_set_is_a_departure(digits: Callable[..., Any]) -> None:
    rows = digits(published="figure1-left", steps=None, learning_rate=0.05)
    assert {row.steps for row in rows} == {5}
    assert rows[0].detail["preset"] == "figure1-left"
    assert rows[0].detail["departures"] == [
        "data set digits instead of cifar10",
        "IPC 1 instead of 50",
        "class orders 1 instead of 5",
        "networks an order 1 instead of 3",
        "memory condensed instead of condensed[per-step]",
        "source of class orders the suite's seeds instead of field",
        "architecture convnet3_w4 instead of convnet3_w128",
        "recipe smoke instead of dm",
        "learning rate 0.05 instead of 0.01",
    ]


def test_what_makes_no_sense_is_one_line_and_stores_nothing(
    digits: Callable[..., Any], refused: Callable[..., str]
) -> None:
    for arguments, said in (
        (["--steps", "11"], "steps 11"),
        (["--orders", "0"], "orders 0"),
        (["--networks", "0"], "networks 0"),
        (["--protocol", "gdum"], "did you mean gdumb"),
        (["--protocol", "naive", "--memory", "condensed"], "naive keeps no memory"),
        (["--protocol", "cumulative", "--condense-per-step"], "cumulative keeps no memory"),
        (["--memory", "random", "--condense-per-step"], "leave memory random out"),
        (["--memory", "herd"], "expected condensed, random, herding, reservoir or ssd"),
        (["--budget", "bytes"], "it bounds memory random or herding"),
        (["--budget", "kilos"], "expected images or bytes"),
        (["--steps", "10", "--condense-per-step"], "learns nothing from only one class"),
        (["--buffer", "9"], "buffer 9: less than one image for each of 10 classes"),
        (["--buffer", "11"], "buffer 11: digits/ipc1/satm@1 has 10 images; take at most 10"),
        (["--buffer", "20", "--memory", "random", "--budget", "bytes"], "the buffer counts images"),
        (["--protocol", "joint", "--buffer", "20"], "joint keeps no memory; leave --buffer 20 out"),
        (["--base", "8", "--steps", "4"], "base 8 of 10 classes in 4 steps"),
        (["--order", "feild"], "order 'feild': expected field, icarl or a file"),
        (["--order", "icarl", "--orders", "3"], "--order icarl is one class order"),
        (["--preset", "figure1-left", "--base", "5"], "whose steps are all alike"),
        (["--replay-weight", "0.5"], "protocol gdumb has no such weight; take replay"),
        (["--protocol", "replay", "--replay-weight", "1"], "replay_weight 1.0: expected 0 or more, and less than 1"),
        (["--preset", "figure1-lef"], "did you mean figure1-left"),
        (["--preset", "figure1-left", "--steps", "3"], "which has 5"),
        (["--protocol", "der", "--learning-rate", "grid"], "state a number"),
        (["--protocol", "der", "--set", "alfa=3"], "did you mean alpha"),
        (["--protocol", "der", "--set", "alpha=-3"], "alpha -3"),
        (["--set", "epochs=3"], "gdumb has no settings"),
        (["--recipe", "fast"], "unknown recipe"),
        (["--protocol", "gdumb-avalanche", "--recipe", "prabhu2020"], "without CutMix or clipped gradients"),
    ):
        assert said in refused(2, *arguments), arguments
    assert "no set of cifar10 at IPC 50" in refused(1, "--preset", "figure1-left")
    assert "smallest class of digits has" in _too_many(refused)
    with Registry.open(_path(), read_only=True) as store:
        assert not store.results()
        assert not store.runs(kind="eval-cl")


def _too_many(refused: Callable[..., str]) -> str:
    """The message for a memory that needs more real images than there are: 50 condensed images cost as much as 200."""
    assert run(["condense", "digits", "--ipc", "50", "--method", "random", "--profile", "smoke"]) == 0
    return refused(2, "digits/ipc50/random@1", "--memory", "random", "--budget", "bytes")


def test_an_imported_set_cannot_be_condensed_step_by_step(
    digits: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    assert run(["sets", "export", "digits/ipc1/satm@1", str(tmp_path / "out"), "--format", "mtt"]) == 0
    place = next((tmp_path / "out").rglob("images*.pt"))
    assert run(["sets", "import", str(place), "--format", "mtt", "--dataset", "digits", "--step-size", "0.05",
                "--preprocessing", "meanstd", "--method", "theirs"]) == 0  # fmt: skip
    assert "was imported" in refused(2, "digits/ipc1/theirs@1", "--condense-per-step")


def test_the_command_shows_what_it_stored(digits: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--protocol", "naive", "--steps", "2", "--orders", "1", "--networks", "1", "--set", "epochs=2"]
    assert run(["eval-cl", *arguments, "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "protocol cl naive 2 steps" in out
    assert "naive smoke, epochs 2" in out
    assert "accuracy_on_step" not in out
    assert run(["results", "--protocol", "cl", "--format", "json"]) == 0
    assert {row["protocol"] for row in json.loads(capsys.readouterr().out)} == {"class-incremental/naive"}


def test_the_predictions_of_every_step_are_stored(digits: Callable[..., Any]) -> None:
    rows = digits(steps=3, learning_rate=0.05)
    accuracies = {row.step: row for row in rows if row.metric == "accuracy"}
    with Registry.open(_path(), read_only=True) as store:
        found = {row.step: row for row in store.predictions(protocol="class-incremental")}
    assert sorted(found) == [1, 2, 3]
    assert len({row.test for row in found.values()}) == 1
    for step, row in found.items():
        seen = [label for group in accuracies[step].detail["classes_by_step"][:step] for label in group]
        of_them = np.isin(row.targets, seen)
        assert accuracies[step].value == pytest.approx((row.predicted == row.targets)[of_them].mean())
        assert row.num_classes == 10


def test_predictions_can_be_left_out_and_made_later(digits: Callable[..., Any]) -> None:
    rows = digits(learning_rate=0.05, save_predictions=False)

    def stored() -> int:
        with Registry.open(_path(), read_only=True) as store:
            return len(store.predictions(protocol="class-incremental"))

    assert stored() == 0
    digits(learning_rate=0.05)
    assert stored() == 0  # the numbers are there, so nothing is trained again
    again = digits(learning_rate=0.05, save_predictions=True)
    assert stored() == 2
    values = [{(row.metric, row.step): row.value for row in each} for each in (rows, again)]
    assert values[0] == pytest.approx(values[1])


def test_how_a_rate_was_chosen_is_stored_and_used_again(digits: Callable[..., Any]) -> None:
    rows = digits(learning_rate="grid")
    (facts,) = {json.dumps(row.detail["grid"], sort_keys=True) for row in rows}
    grid = json.loads(facts)
    assert max(grid["scores"], key=lambda pair: pair[1])[0] == rows[0].step_size
    assert {row.detail["grid"] is not None and row.step_size for row in digits(learning_rate="grid", orders=2)} == {
        rows[0].step_size
    }


def test_a_stream_that_diverges_is_stored_as_a_guess(digits: Callable[..., Any]) -> None:
    rows = digits(learning_rate=1e30)
    values = {(row.metric, row.step): row for row in rows}
    assert values["accuracy", 1].value == pytest.approx(1 / 5)
    assert values["accuracy", 2].value == values["final_accuracy", 2].value == pytest.approx(1 / 10)
    assert values["accuracy", 2].detail["diverged"] is True
    rows = [row for row in satm.group_results(registry=_path()) if row.cell.metric == "final_accuracy"]
    assert [(row.diverged, row.survivors) for row in rows] == [(1, None)]
    assert digits(learning_rate=1e30) is not None  # and is not run again
    with Registry.open(_path(), read_only=True) as store:
        assert store.predictions(protocol="class-incremental") == []


def test_a_set_without_a_step_size_says_that_its_rate_is_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SATM_REGISTRY", str(tmp_path / "satm.db"))
    assert run(["condense", "digits", "--method", "random", "--ipc", "1", "--profile", "smoke"]) == 0
    arguments = ["--learning-rate", "learned", "--dry-run"]
    for command in (["eval"], ["eval-cl", "--steps", "2"]):
        assert run([*command, *arguments]) == 0
        assert capsys.readouterr().err.count("without a learned step size, so its rate is chosen from the grid") == 1
