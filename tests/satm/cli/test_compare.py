"""`satm compare` as a user types it, on a registry made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from satm.cli import run
from tests.satm.workflow.comparing import evaluated, group

A, B, C = (f"cifar10/ipc2/{method}" for method in ("a", "b", "c"))

TWO = """\
accuracy at learned rates on convnet3 (in-domain), recipe smoke, profile smoke
  cifar10/ipc2/a: 52.5 [46.0, 58.9], 4 condensations × 5 networks, between condensations 4.3, networks 1.6, rate 0.01
  cifar10/ipc2/b: 50.5 [44.2, 56.8], 4 condensations × 5 networks, between condensations 4.2, networks 1.6, rate 0.01
  cifar10/ipc2/a − cifar10/ipc2/b: +2.0 [1.8, 2.2], 4 condensations × 5 networks: holds, by at least δ = 1

at grid rates: no accuracy of cifar10/ipc2/a and cifar10/ipc2/b is stored; `satm eval cifar10/ipc2/a --learning-rate \
grid` and `satm eval cifar10/ipc2/b --learning-rate grid` make it
test accuracy in %; n: condensations × networks; satm results --all: all metrics
all: set cifar10/ipc2/…, protocol in-domain, architecture convnet3, memory
  condensed, profile smoke, recipe smoke, rate learned
set  mean  95% interval  n
a    52.5  [46.0, 58.9]  4×5
b    50.5  [44.2, 56.8]  4×5
"""


@pytest.fixture
def satm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line on a registry of three groups; returns what it printed, or the one line of its refusal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATM_REGISTRY", raising=False)
    with Registry.open("satm.db") as registry:
        for method, by, noise in (("a", 0.02, 0.001), ("b", 0.0, 0.0), ("c", 0.001, 0.01)):
            spread = zip((-0.05, 0.0, 0.02, 0.05), (-noise, noise, -noise, noise), strict=True)
            evaluated(registry, group(registry, method), [0.5 + by + s + n for s, n in spread])

    def command(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return command


def test_two_groups(satm: Callable[..., str]) -> None:
    assert satm("compare", A, B) == TWO


def test_single_sets_say_so(satm: Callable[..., str]) -> None:
    printed = satm("compare", f"{A}@1", f"{A}@2", "--learning-rate", "learned")
    assert f"{A}@1 − {A}@2: -5.2, 1 condensation × 5 networks: cannot tell (this set only)" in printed


def test_what_was_left_out_is_said(satm: Callable[..., str]) -> None:
    shared = {"config": {"condense": {"experts": {"seed": 7}}}, "parents": ("data:d", "experts:of-seed-7")}
    with Registry.open("satm.db") as registry:
        sets = group(registry, "e", **shared)
        evaluated(registry, sets[:3], [0.5] * 3)
    lines = satm("compare", A, "cifar10/ipc2/e", "--learning-rate", "learned").splitlines()
    assert lines[4:7] == [
        "  the sets of cifar10/ipc2/e share their experts: intervals speak of these experts only",
        "  cifar10/ipc2/e has no result here of the condensations with seed 3; evaluate them too",
        "  5 values are left out: not every group has their seed and network",
    ]


def test_several_groups_are_corrected_together(satm: Callable[..., str]) -> None:
    lines = satm("compare", A, B, C, "--learning-rate", "learned").splitlines()
    assert lines[6].startswith(
        f"  {C} − {B}: +0.1 [-1.7, 1.9], 4 condensations × 5 networks, Holm p = 0.87: cannot tell"
    )
    assert lines[6].endswith("at δ = 1 (power 23%; 80% needs about 13 condensations)")
    assert lines[7] == f"  may be best of 3 methods (95%): {A}"
    against = satm("compare", A, "--against", B, C, "--learning-rate", "learned").splitlines()
    assert [line.split(":")[0].strip() for line in against[4:6]] == [f"{A} − {B}", f"{C} − {B}"]


def test_json_holds_every_number(satm: Callable[..., str]) -> None:
    found = json.loads(satm("compare", A, B, "--delta", "2.5", "--format", "json"))
    (block,) = found["blocks"]
    (one,) = block["comparisons"]
    assert (block["policy"], block["recipe"], block["profile"], one["first"]) == ("learned", "smoke", "smoke", A)
    assert (one["verdict"], one["delta"], one["condensations"], one["networks"]) == ("holds", 0.025, 4, 5)
    assert one["difference"] == pytest.approx(0.02)
    assert one["power"] == pytest.approx(1.0)
    assert len(found["missing"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["compare"], 2, "error: only nothing to compare; expected two groups or more, as in: satm compare A B"),
        (["compare", A, B, "--delta", "0"], 2, "error: --delta 0: expected points above 0, such as 1"),
        (["compare", A, B, "--delta", "nan"], 2, "error: --delta nan: expected points above 0, such as 1"),
        (["compare", A, B, "--learning-rate", "0.1"], 2, "error: --learning-rate 0.1: expected learned, grid, fixed"),
        (["compare", A, B, "--learning-rate", "grid"], 1, "error: nothing to compare: at grid rates: no accuracy of"),
        (["compare", A, "cifar10/ipc2/z"], 2, "error: unknown set 'cifar10/ipc2/z'"),
    ],
)
def test_refusals_are_one_line(satm: Callable[..., str], arguments: list[str], code: int, told: str) -> None:
    printed = satm(*arguments, code=code)
    assert printed.startswith(told)
    assert printed.count("\n") == 1
