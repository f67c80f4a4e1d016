"""Domain-incremental streams of a stored set: its memories, what is stored, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import satm
from registry import Registry
from satm.cli import run
from satm.data import load
from satm.data.domain import in_domain
from satm.errors import Interrupted
from satm.progress import NoProgress

SET = "digits/ipc1/satm@1"
STREAM = "class-incremental/gdumb[rotation 0,60,120]"


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """One quick set of digits in a registry; `evaluate_incremental` on it with three domains, and its rows."""
    path = tmp_path / "satm.db"
    monkeypatch.setenv("SATM_REGISTRY", str(path))
    settings = {"outer_steps": 1, "inner_steps": 2, "architecture": "convnet3_w4", "diagnostics_every": 0}
    satm.condense(satm.choose_preset("digits", ipc=1, profile="smoke", settings=settings), registry=path)

    def evaluate(**changes: Any) -> list[Any]:
        quick = {"domains": "rotation", "steps": 3, "orders": 1, "networks": 1, "learning_rate": 0.05}
        satm.evaluate_incremental(SET, registry=path, **(quick | changes))
        with Registry.open(path, read_only=True) as store:
            return store.results(set=SET)

    return evaluate


def test_each_domain_is_condensed_on_its_own(digits: Callable[..., Any], tmp_path: Path) -> None:
    rows = digits(condense_per_step=True, orders=2, learning_rate=None)
    assert {(row.protocol, row.memory) for row in rows} == {(STREAM, "condensed[per-step]")}
    assert {row.detail["condensed"] for row in rows} == {"each step's domain on its own"}
    assert not any("saw_all_classes" in row.detail for row in rows)
    assert rows[0].detail["budget"] == {"images": 30, "bytes": 30 * 256 * 4}
    accuracies = {(row.repeat, row.step): row for row in rows if row.metric == "accuracy"}
    orders = [accuracies[order, 1].detail["domains_by_step"] for order in (0, 1)]
    assert all(sorted(order) == ["rotation:0", "rotation:120", "rotation:60"] for order in orders)
    assert [accuracies[0, step].detail["memory_size"] for step in (1, 2, 3)] == [10, 20, 30]
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        sets = {each.name: each for each in store.sets()}
        # Both orders use the same sets, and the images as they are have the set that is there.
        assert set(sets) == {SET, "digits:rotation60/ipc1/satm@1", "digits:rotation120/ipc1/satm@1"}
        assert {parent for each in sets.values() for parent in each.parents if "set:" in parent} == {
            f"set:{sets[SET].id}"
        }
        assert len({parent for each in sets.values() for parent in each.parents if "experts:" in parent}) == 3
        assert set(rows[0].detail["parts"]) == {each.id for each in sets.values()}
        of_domain = {
            f"rotation:{angle}": store.load(sets[name].id)
            for angle, name in (
                (0, SET),
                (60, "digits:rotation60/ipc1/satm@1"),
                (120, "digits:rotation120/ipc1/satm@1"),
            )
        }
    # The learning rate of a step is the mean of the step sizes held.
    for order in (0, 1):
        sizes = [float(of_domain[name].step_size or 0) for name in orders[order]]
        wanted = [sum(sizes[: step + 1]) / (step + 1) for step in range(3)]
        assert [accuracies[order, step].step_size for step in (1, 2, 3)] == pytest.approx(wanted)
    # A domain's set is a normal set, judged on its own domain.
    assert run(["eval", "digits:rotation60/ipc1/satm@1", "--repeats", "1", "--threads", "1"]) == 0


def test_the_accuracies_are_those_of_the_rotated_test_images(digits: Callable[..., Any], tmp_path: Path) -> None:
    rows = digits(memory="random")
    values = {(row.metric, row.step): row for row in rows}
    order = values["accuracy", 1].detail["domains_by_step"]
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        found = {row.step: row for row in store.predictions(protocol="class-incremental")}
    data = load("digits", image_size=16)
    labels = data.test.labels.numpy()
    for step in (1, 2, 3):
        # The test images are stored domain by domain, in ascending angles.
        right = dict(
            zip(("rotation:0", "rotation:60", "rotation:120"), np.split(found[step].predicted, 3), strict=True)
        )
        each = [float((right[name] == labels).mean()) for name in order]
        assert [values[f"accuracy_on_step_{j}", step].value for j in (1, 2, 3)] == pytest.approx(each)
        assert values["accuracy", step].value == pytest.approx(sum(each[:step]) / step)
        assert values["masked_accuracy", step].value == pytest.approx(values["accuracy", step].value)


def test_real_memories_are_of_the_domain_of_each_step(
    digits: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from satm.workflow.incremental import run as module

    jobs: list[Any] = []
    usual = module.run

    def watched(job: Any, **options: Any) -> Any:
        jobs.append(job)
        return usual(job, **options)

    monkeypatch.setattr(module, "run", watched)
    digits(memory="random")
    digits(memory="random", budget="bytes")
    rows = digits(memory="random", buffer=60)
    budgets = {row.memory: row.detail["budget"] for row in rows}
    assert budgets == {
        "random": {"equal in": "images", "images": 30, "bytes": 30 * 256},
        "random[bytes]": {"equal in": "bytes", "images": 120, "bytes": 30 * 256 * 4},
        "random[M=60]": {"equal in": "buffer", "images": 60, "bytes": 60 * 256},
    }
    held = {memory: [r.detail["memory_size"] for r in rows if (r.memory, r.metric) == (memory, "accuracy")]
            for memory in budgets}  # fmt: skip
    assert held == {"random": [10, 20, 30], "random[bytes]": [40, 80, 120], "random[M=60]": [60, 60, 60]}
    job, order = jobs[1], rows[0].detail["domains_by_step"]
    data = load("digits", image_size=16).with_preprocessing(job.memory.preprocessing)
    chosen = set()
    for name, places in zip(order, job.places("memory"), strict=True):
        images, _ = in_domain(data, name).train.batch(torch.arange(len(data.train)))
        assert job.memory_classes[places].tolist() == [label for label in range(10) for _ in range(4)]
        # Every image of the memory is a training image of its class in this domain.
        # The largest difference of a pixel, between each image of the memory and each training image.
        distance = torch.cdist(job.memory.images[places].flatten(1), images.flatten(1), p=float("inf"))
        assert distance.min(1).values.max() == 0
        nearest = distance.argmin(1)
        assert torch.equal(data.train.labels[nearest], job.memory_classes[places])
        chosen.add(tuple(nearest.tolist()))
    assert len(chosen) == 3  # each domain has other images


def test_herding_asks_for_the_expert_of_each_domain(
    digits: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "home" / "experts")
    arguments = ["eval-cl", "--domains", "rotation:30,0", "--memory", "herding", "--threads", "1"]
    for domain in (" --set domain=rotation:30", ""):
        assert run(arguments) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        command = line.split("satm experts ")[1]
        assert command == f"digits --ipc 1 --method herding --profile smoke --set architecture=convnet3_w4{domain}"
        assert run(["experts", *command.split(), "--threads", "1"]) == 0
    rows = digits(domains="rotation:30,0", steps=None, memory="herding")
    assert {row.memory for row in rows} == {"herding"}
    assert not any("saw_all_classes" in row.detail for row in rows)


class StopAt(NoProgress):
    """Asks to stop at call number `at` of `stopping`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def stopping(self) -> bool:
        self.left -= 1
        return self.left <= 0


def test_interrupted_and_continued_stores_the_same_numbers(digits: Callable[..., Any], tmp_path: Path) -> None:
    request = {"memory": "random", "protocol": "replay", "recipe": "smoke", "settings": {"batch_size": 256}}
    with pytest.raises(Interrupted):
        digits(**request, progress=StopAt(10))
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        assert {row.step for row in store.results()} == {1}
        wanted = store.load(SET)
    continued = digits(**request)
    (tmp_path / "satm.db").rename(tmp_path / "stopped.db")
    with Registry.open(tmp_path / "satm.db") as new:
        new.add_set(wanted, run=None)
    whole = digits(**request)
    assert [(row.metric, row.step, row.value) for row in continued] == [
        (row.metric, row.step, row.value) for row in whole
    ]


def test_what_makes_no_sense_is_one_line(digits: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    random = ["--memory", "random"]
    for arguments, said in (
        ([], "memory condensed with --domains: the set holds images of one domain; add --condense-per-step"),
        (["--domains", "mirror", *random], "domains 'mirror': expected rotation"),
        (["--domains", "rotation:0,10", "--steps", "3", *random], "steps 3 beside 2 domains"),
        (["--base", "2", *random], "--base 2: the steps of --domains have all classes"),
        (["--published", "figure1-left", *random], "--published figure1-left: the steps of --domains"),
        (["--order", "icarl", *random], "--order icarl is an order of classes"),
        (["--protocol", "replay", "--replay-weight", "0.5", *random], "--replay-weight with --domains"),
        (["--protocol", "replay", "--set", "replay_weight=0.5", *random], "--replay-weight with --domains"),
        (["--buffer", "20", *random, "--steps", "3"], "each of 10 classes in 3 domains; take 30 or more"),
        (["--buffer", "31", "--condense-per-step", "--steps", "3"], "have 30 images; take at most 30"),
    ):
        assert run(["eval-cl", "--domains", "rotation", *arguments, "--threads", "1"]) == 2, arguments
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert said in line
    assert run(["condense", "digits", "--ipc", "1", "--method", "random", "--profile", "smoke",
                "--set", "domain=rotation:36"]) == 0  # fmt: skip
    capsys.readouterr()
    assert run(["eval-cl", "digits:rotation36/ipc1/random@1", "--domains", "rotation", *random, "--threads", "1"]) == 2
    assert "is of one domain, rotation:36; leave --domains out" in capsys.readouterr().err
