"""`--workers`: several seeds or experts at once, the same bits as one after another, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import satm
from registry import Registry
from registry.store import now
from satm.cli import run
from satm.cli._names import _with_values
from satm.data import load
from satm.errors import Interrupted, SatmError
from satm.workflow.condense.memory import foreseen_bytes, warn_of_memory
from satm.workflow.condense.side_by_side import CondenseSeed, condense_side_by_side
from satm.workflow.fan_out import LocalWorkers, OneProcess, Work, fan_out
from tests.satm.workflow.fan_out.bars import Bars
from tests.satm.workflow.fan_out.tasks import Cell, contents

ROOT = Path(__file__).parents[4]
SMOKE = ["digits", "--profile", "smoke", "--method", "mtt", "--set", "outer_steps=3"]


def test_workers_give_the_bits_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets and result rows, with the same number of threads. Each place trains its own experts."""
    cells = [Cell(0), Cell(1)]
    both: list[Path] = []
    for place in (LocalWorkers(2), OneProcess()):
        monkeypatch.setenv("SATM_HOME", str(tmp_path / type(place).__name__))
        both.append(tmp_path / f"{type(place).__name__}.db")
        outcomes = fan_out(cells, place, Work(registry=both[-1], device="cpu", threads=1))
        assert [each.error for each in outcomes] == [None, None]
    at_once, one_by_one = map(contents, both)
    assert at_once == one_by_one
    assert len(at_once[0]) == 2
    assert len(at_once[1]) >= 4


def test_seeds_and_their_experts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATM_REGISTRY")
    assert run(["experts", *SMOKE[:5], "--workers", "2", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "2 experts of at least" in printed.out
    assert "2 worker processes, 1 CPU thread each" in printed.err
    assert {line.split(":")[0] for line in printed.err.splitlines() if "training 1 of 1" in line} == {
        "expert 0",
        "expert 1",
    }
    seeds = ["--seeds", "0-1", "--share-experts", "--threads", "1"]
    assert run(["condense", *SMOKE, *seeds, "--workers", "2"]) == 0
    printed = capsys.readouterr()
    assert sorted(line.split(" digits")[0] for line in printed.out.splitlines()[:2]) == [
        "seed 0: stored",
        "seed 1: stored",
    ]
    assert printed.out.splitlines()[-1] == "next: satm eval digits/ipc1/mtt"
    assert "training" not in printed.err  # the experts were there
    assert run(["condense", *SMOKE, *seeds]) == 0  # one after another finds both
    assert capsys.readouterr().out.count("already stored:") == 2
    with Registry.open("satm.db", read_only=True) as store:
        runs = store.runs(kind="condense")
        assert {each.config["threads"] for each in runs} == {1}
        assert os.getpid() not in {each.pid for each in runs}


def test_a_full_disk_in_a_worker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "experts").write_bytes(b"")  # no folder can be made there
    monkeypatch.setenv("SATM_HOME", str(blocked))
    preset = satm.choose_preset("digits", ipc=1, method="mtt", profile="smoke", settings={"outer_steps": 2})
    with pytest.raises(SatmError, match=r"1 of 1 seeds failed: seed 0: cannot make folder .*blocked/experts") as error:
        condense_side_by_side(preset, [0], LocalWorkers(1), threads=1, device="cpu", registry=tmp_path / "satm.db")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--seeds", "0-1", "--workers", "0"], "--workers"),
        (["--seeds", "0-1", "--workers", "x"], "--workers"),
        (["--seeds", "0-1", "--workers", "2", "--ray"], "--workers 2 beside --ray"),
        (["--workers", "2"], "give --seeds too"),
        (["--seeds", "0-1", "--ray", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1 (Connection refused)"),
    ],
)
def test_bad_places_are_one_line_and_make_nothing(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    if "127.0.0.1:1" in arguments:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'satm[ray]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATM_REGISTRY")
    assert run(["condense", *SMOKE, *arguments]) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "satm.db").exists()


def test_ray_may_stand_without_an_address() -> None:
    assert _with_values(["cifar10", "--ray"], ["--ray"]) == ["cifar10", "--ray", "auto"]
    assert _with_values(["--ray", "cifar10", "--ipc", "1"], ["--ray"]) == ["--ray", "auto", "cifar10", "--ipc", "1"]
    for address in ("auto", "host:6379", "ray://host:10001"):
        assert _with_values(["--ray", address, "x"], ["--ray"]) == ["--ray", address, "x"]
    assert _with_values(["--ray=host:1", "x"], ["--ray"]) == ["--ray=host:1", "x"]


def test_memory_that_may_not_suffice_is_said_before() -> None:
    preset = satm.choose_preset("digits", ipc=1, method="satm", profile="smoke")
    data, device = load("digits"), torch.device("cpu")
    each = foreseen_bytes(preset, data, device)
    assert 50e6 < each < 20e9  # a process with torch in it, and little more
    long = satm.choose_preset("digits", ipc=1, method="satm", profile="smoke", settings={"engine": "higher"})
    assert foreseen_bytes(long, data, device) > 0
    said = Bars()
    warn_of_memory(3, preset, data, device, said, free=4 * each)
    assert not said.lines
    warn_of_memory(3, preset, data, device, said, free=2 * each)
    assert "3 workers may take" in said.lines[0]
    assert "give fewer workers" in said.lines[0]


@pytest.mark.slow
def test_ctrl_c_saves_what_every_worker_has_done_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from satm.cli import main; main()", "condense", *SMOKE[:5]]
    command += ["--set", "outer_steps=5000", "--seeds", "0-1", "--workers", "2", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    registry = Path(os.environ["SATM_REGISTRY"])
    until(lambda: len(running(registry)) == 2, process)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert printed.splitlines()[-1].startswith("stopped with 0 of 2 tasks done, and what the others did is saved")
    with Registry.open(registry, read_only=True) as store:
        assert [each.status for each in store.runs()] == ["interrupted", "interrupted"]
    assert len(list((Path(os.environ["SATM_HOME"]) / "runs").glob("*.safetensors"))) >= 2


def running(registry: Path) -> list[int]:
    if not registry.exists():
        return []
    try:
        with Registry.open(registry, read_only=True) as store:
            return [each.pid for each in store.runs(status="running") if each.pid is not None]
    except SatmError:
        return []


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 300
    while not true():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.1)


def test_a_fresh_run_whose_worker_died_is_continued_and_not_started_over(tmp_path: Path) -> None:
    preset = satm.choose_preset("digits", ipc=1, method="dm", profile="smoke", settings={"outer_steps": 4})
    path = tmp_path / "satm.db"
    with pytest.raises(Interrupted):  # an older session, of which nothing may be left
        satm.condense(preset, registry=path, device="cpu", progress=Bars(stop_at=3))
    time.sleep(0.01)
    fresh = CondenseSeed(preset=preset, seed=0, fresh=True, since=now())
    again = Bars()
    with pytest.raises(Interrupted):
        fresh.run(Work(registry=path, device="cpu", progress=Bars(stop_at=2)))
    fresh.run(Work(registry=path, device="cpu", progress=again))  # as after the death of the worker
    assert any(line.startswith("continuing from outer step ") for line in again.lines)
    with Registry.open(path) as store:
        (run,) = store.runs()
        assert (run.status, run.sessions) == ("done", 3)
