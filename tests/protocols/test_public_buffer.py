"""`satm.avalanche_buffer`: a condensed memory in Avalanche's own strategies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import satm
from satm.cli import run
from satm.errors import ConfigError
from tests.protocols.stage import CLASSES, GROUPS, IPC, memory, soft_memory

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocols.md"


@pytest.mark.filterwarnings("ignore")
def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["condense", "digits", "--ipc", "2", "--method", "random", "--profile", "smoke"]) == 0
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, PAGE.name, "exec"), names)
    buffer, synthetic = names["buffer"].buffer, names["synthetic"]
    assert len(buffer) == len(synthetic) == 20
    order = [label for group in names["groups"] for label in sorted(group) for _ in range(2)]
    assert [int(buffer[index][1]) for index in range(20)] == order
    images, labels = names["real"].test.batch(torch.arange(len(names["real"].test)))
    names["network"].eval()
    assert (names["network"](images).argmax(1) == labels).float().mean() > 0.3  # chance is 0.1


def taken(buffer: Any, step: int) -> list[int]:
    buffer.take(step)
    return [int(buffer.buffer[index][1]) for index in range(len(buffer.buffer))]


def test_images_arrive_with_their_experience() -> None:
    given = memory()
    buffer = satm.avalanche_buffer((given.images, given.labels), GROUPS)
    assert buffer.max_size == IPC * CLASSES
    assert taken(buffer, 0) == [label for label in sorted(GROUPS[0]) for _ in range(IPC)]
    assert sorted(set(taken(buffer, 1))) == sorted(GROUPS[0] + GROUPS[1])
    fixed = satm.avalanche_buffer(given, GROUPS, size=10)
    assert [len(taken(fixed, step)) for step in range(4)] == [6, 10, 10, 10]
    with pytest.raises(ConfigError, match="experience 5: the memory has images for 4 only"):
        buffer.take(4)


def test_soft_labels_stay_soft_unless_classes_are_wanted() -> None:
    given = soft_memory("probabilities")
    soft, hard = (satm.avalanche_buffer(given, GROUPS, hard_labels=hard) for hard in (False, True))
    assert taken(hard, 0) == [label for label in sorted(GROUPS[0]) for _ in range(IPC)]
    soft.take(0)
    assert soft.buffer[0][1].shape == (CLASSES,)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ((*GROUPS, (GROUPS[0][0],)), "is there twice"),
        (GROUPS[:-1], "is in no group"),
        ((*GROUPS, (77,)), r"there is no image of \[77\]"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: tuple[tuple[int, ...], ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        satm.avalanche_buffer(memory(), groups)
    with pytest.raises(ConfigError, match="buffer 9: less than one image"):
        satm.avalanche_buffer(memory(), GROUPS, size=9)
