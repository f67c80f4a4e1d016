"""Online protocols beside a stored set or a data set: memories, sizes, names of results, resumption, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, Interrupted
from satm.progress import NoProgress
from satm.workflow.incremental.differences import memory_differences

QUICK = {"protocol": "scr", "steps": 2, "orders": 1, "networks": 1, "buffer": 20}
SMALL = {"ssd.network": "convnet3_w4", "ssd.interval": 8}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with two random images of each digit, for a small network."""
    path = tmp_path / "satm.db"
    monkeypatch.setenv("SATM_REGISTRY", str(path))
    preset = satm.choose_preset(
        "digits", ipc=2, method="random", profile="smoke", settings={"architecture": "convnet3_w4"}
    )
    satm.condense(preset, registry=path)
    return path


@pytest.fixture
def refused(registry: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def command(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["eval-cl", "digits/ipc2/random", "--threads", "1", *arguments]) != 0
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return line

    return command


class Stopping(NoProgress):
    """Asks to stop in the second step: after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def stopping(self) -> bool:
        self.left -= 1
        return self.left < 0


def rows_of(registry: Path, memory: str) -> list[Any]:
    with Registry.open(registry, read_only=True) as store:
        found = [row for row in store.results(set="digits/ipc2/random@1") if row.memory == memory]
    return sorted(found, key=lambda row: (row.step, row.metric))


def test_memories_are_compared_at_equal_images_and_a_stopped_stream_goes_on(registry: Path) -> None:
    settings = {**SMALL, "ssd.queue": 4}
    name = "ssd[M=20,interval=8,network=convnet3_w4]"  # a queue of 4 is the default of the scale

    def evaluate(**changes: Any) -> None:
        satm.evaluate_incremental("digits/ipc2/random", registry=registry, **(QUICK | changes))

    stopped = Stopping(90)  # a step has about 64 batches
    with pytest.raises(Interrupted):
        evaluate(memory="ssd", settings=settings, progress=stopped)
    assert {row.step for row in rows_of(registry, name)} == {1}
    assert any(line.startswith("the memory holds at most 20 images of 20,480 bytes, and") for line in stopped.said)
    evaluate(memory="ssd", settings=settings)
    continued = rows_of(registry, name)
    evaluate(memory="ssd", settings=dict(reversed(settings.items())))  # the same memory, so nothing is run
    assert rows_of(registry, name) == continued
    assert {row.step for row in continued} == {1, 2}
    # The same without a stop, in another registry: the same numbers.
    again = registry.with_name("again.db")
    preset = satm.choose_preset(
        "digits", ipc=2, method="random", profile="smoke", settings={"architecture": "convnet3_w4"}
    )
    satm.condense(preset, registry=again)
    satm.evaluate_incremental("latest", registry=again, memory="ssd", settings=settings, **QUICK)
    assert [(row.step, row.metric, row.value) for row in rows_of(again, name)] == [
        (row.step, row.metric, row.value) for row in continued
    ]

    evaluate()
    (real,) = {row.memory for row in rows_of(registry, "reservoir[M=20]")}
    assert real == "reservoir[M=20]"
    details = {row.memory: row.detail for row in (*continued, *rows_of(registry, real))}
    assert details[name]["budget"] == {"equal in": "images", "images": 20, "bytes": 20 * 256 * 4}
    assert details[real]["budget"] == {"equal in": "images", "images": 20, "bytes": 20 * 256}
    assert details[name]["online"]["settings"]["queue"] == 4
    assert details[name]["online"]["queue_bytes"] == 4 * 10 * 256
    assert {row.detail["memory_size"] for row in continued if row.metric == "accuracy"} == {20}
    assert len({row.recipe_id for row in (*continued, *rows_of(registry, real))}) == 1
    found = {each.metric: each for each in memory_differences(registry, "digits/ipc2/random")}
    difference = found["final_accuracy"]
    assert (difference.memory, difference.other) == (name, real)
    finals = [
        next(row.value for row in rows if row.metric == "final_accuracy")
        for rows in (continued, rows_of(registry, real))
    ]
    assert difference.estimate.mean == pytest.approx(finals[0] - finals[1])
    assert min(finals) > 0.3  # a guess has 0.1


def test_equal_bytes_are_four_real_images_for_each_float_image(registry: Path) -> None:
    progress = Stopping(10**9)
    satm.evaluate_incremental("latest", registry=registry, budget="bytes", dry_run=True, progress=progress, **QUICK)
    assert "the memory holds at most 80 images of 20,480 bytes" in progress.said
    assert any("scr with memory reservoir[bytes,M=20], convnet3_w4, 1 class orders" in line for line in progress.said)
    assert any("recipe scr smoke (one pass)" in line for line in progress.said)


def test_a_data_set_can_be_named(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval-cl", "digits", "--protocol", "scr", "--buffer", "35", "--threads", "1", "--dry-run"]
    assert run(arguments) != 0
    line = capsys.readouterr().err
    assert "no set of digits at IPC 3 is stored beside which results could be" in line
    assert "satm condense digits --ipc 3 --method random" in line
    assert run(["20" if word == "35" else word for word in arguments]) == 0
    assert "digits/ipc2/random@1" in capsys.readouterr().err


def test_the_published_comparison_says_its_departures(registry: Path) -> None:
    progress = Stopping(10**9)
    satm.evaluate_incremental(
        "digits/ipc2/random",
        published="ssd-cifar100",
        registry=registry,
        buffer=20,
        settings={**SMALL, "ssd.queue": 4},
        orders=1,
        dry_run=True,
        progress=progress,
    )
    departures = [line for line in progress.said if line.startswith("departure: ")]
    for each in ("data set digits instead of cifar100", "IPC 2 instead of 10", "recipe scr smoke instead of scr paper"):
        assert f"departure: {each}" in departures
    assert not any("learning rate" in line and "instead of 0.1" in line for line in departures)
    assert any(line.startswith("departure: the augmentation of the recipe") for line in departures)


def test_what_an_online_protocol_cannot_do_is_refused(refused: Callable[..., str]) -> None:
    scr = ("--protocol", "scr", "--steps", "2")
    assert "memory random for protocol scr: expected reservoir or ssd" in refused(*scr, "--memory", "random")
    assert "memory ssd for protocol gdumb: expected condensed, random or herding" in refused("--memory", "ssd")
    assert "--domains with protocol scr" in refused("--protocol", "scr", "--domains", "rotation:0,30")
    assert "--condense-per-step: protocol scr keeps no condensed set" in refused(*scr, "--condense-per-step")
    assert "budget bytes with memory ssd" in refused(*scr, "--memory", "ssd", "--budget", "bytes")
    assert "buffer 9: less than one image for each of 10 classes" in refused(*scr, "--buffer", "9")
    assert "buffer 0: less than one image for each of 10 classes" in refused(*scr, "--buffer", "0")
    both = ("--learning-rate", "0.05", "--set", "learning_rate=0.07")
    assert "learning rate 0.05 beside --set learning_rate=0.07" in refused(*scr, *both)
    assert "queue 500" in refused(*scr, "--memory", "ssd", "--set", "queue=500")
    assert "slots 3 of each of 10" in refused(*scr, "--memory", "ssd", "--set", "slots=3")
    assert "ssd.queue" in refused(*scr, "--memory", "ssd", "--set", "quuee=5")
    assert "labels teacher" in refused(*scr, "--labels", "teacher")
    assert "learning rate learned" in refused(*scr, "--learning-rate", "learned")


def test_a_memory_that_is_too_small_is_refused_before_a_set_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with pytest.raises(ConfigError, match="buffer 9: less than one image for each of 10 classes"):
        satm.evaluate_incremental("digits", protocol="scr", buffer=9, registry=path)
    assert not path.exists()
