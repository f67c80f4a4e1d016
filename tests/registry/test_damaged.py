"""Whatever bytes of a registry are wrong, each call answers, or says in one line that the file is damaged."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from satm.errors import SatmError
from tests.registry.helpers import SET, a_set, result, start

CALLS: list[Callable[[Registry], object]] = [
    lambda registry: registry.sets(),
    lambda registry: [registry.metrics(run.id) for run in registry.runs()],
    lambda registry: registry.results(),
    lambda registry: registry.summary(),
    lambda registry: registry.groups(),
    lambda registry: registry.load("latest"),
    lambda registry: registry.verify(),
    lambda registry: registry.query("SELECT * FROM leaderboard"),
    lambda registry: registry.add_recipe("other", {}),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "satm.db"
    with Registry.open(path) as registry:
        run = start(registry)
        record = registry.add_set(SET, run=run)
        registry.add_set(a_set(1), run=None)
        recipe = registry.add_recipe("smoke", {})
        registry.add_results([result(record.id, recipe, repeat=repeat) for repeat in range(20)])
        registry.add_metrics(run, [(step, "loss", 0.1) for step in range(30)])
    return path.read_bytes()


def damaged(whole: bytes, draws: random.Random) -> bytes:
    """The bytes with one kind of damage: some changed, a stretch overwritten, a page swapped, or the end cut off."""
    content = bytearray(whole)
    kind = draws.choice(["bytes", "stretch", "page", "cut"])
    if kind == "bytes":
        for _ in range(draws.choice([3, 400])):
            content[draws.randrange(draws.choice([100, 5000, len(content)]))] = draws.randrange(256)
    elif kind == "stretch":
        begin, length = draws.randrange(len(content)), draws.randrange(3000)
        content[begin : begin + length] = draws.choice([b"\0", b"\xff"]) * len(content[begin : begin + length])
    elif kind == "page":
        into, out_of = (draws.randrange(0, len(content), 4096) for _ in range(2))
        content[into : into + 4096] = content[out_of : out_of + 4096]
    else:
        del content[draws.randrange(len(content)) :]
    return bytes(content)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_never_ends_in_a_traceback(whole: bytes, path: Path, seed: int) -> None:
    draws = random.Random(seed)
    for _ in range(3):
        content = damaged(whole, draws)
        for read_only in (True, False):
            for file in path.parent.iterdir():
                file.unlink()
            path.write_bytes(content)
            with contextlib.suppress(SatmError), Registry.open(path, read_only=read_only) as registry:
                for call in CALLS:
                    with contextlib.suppress(SatmError):
                        call(registry)


def test_text_that_is_no_text_is_called_damaged(whole: bytes, path: Path) -> None:
    path.write_bytes(whole.replace(b"cifar10/ipc2/satm@1", b"cifar10/ipc2/s\xff\xfem@1"))
    with Registry.open(path, read_only=True) as registry, pytest.raises(SatmError, match="damaged") as raised:
        registry.sets()
    assert "\n" not in str(raised.value)
