"""Tasks in several processes: threads, GPUs, deaths, stops, and what the user sees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from registry.provenance import usable_cores
from satm.errors import ConfigError, DataError, Interrupted
from satm.workflow.fan_out import LocalWorkers, Work, fan_out
from satm.workflow.fan_out.task import spell_threads
from tests.satm.workflow.fan_out.bars import Bars
from tests.satm.workflow.fan_out.tasks import Count, Die, Meet, Write

ROOT = Path(__file__).parents[4]


def work(tmp_path: Path, progress: Bars | None = None, **facts: object) -> Work:
    return Work(registry=tmp_path / "satm.db", progress=progress or Bars(), **facts)  # type: ignore[arg-type]


def test_tasks_run_side_by_side_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    said = Bars()
    tasks = [Meet("a", 2), Meet("b", 2), Write("c"), Write("d", DataError("no images")), Write("e", ValueError("x"))]
    outcomes = fan_out(tasks, LocalWorkers(2), work(tmp_path, said, device="cpu"))
    assert [each.task for each in outcomes] == tasks
    assert [each.error for each in outcomes[:4]] == [None, None, None, "no images"]
    assert "fault of satm" in str(outcomes[4].error)
    pid, threads, _, device = (tmp_path / "c").read_text().split()
    assert int(pid) != os.getpid()
    assert int(threads) == max(1, usable_cores() // 2)
    assert device == "cpu"
    assert said.lines == [f"2 worker processes, {spell_threads(int(threads))} each"]


def test_a_worker_that_dies_is_started_again_and_not_for_ever(tmp_path: Path) -> None:
    said = Bars()
    tasks = [Die("once", 1), Die("always", 99)]
    once, always = fan_out(tasks, LocalWorkers(2), work(tmp_path, said, threads=1), retries=1)
    assert (once.error, once.deaths) == (None, 1)
    assert always.deaths == 2
    assert "its process died 2 times, at last by SIGKILL" in str(always.error)
    assert (tmp_path / "always.attempts").read_text() == "2"
    assert sum("its process died (SIGKILL); it starts again" in line for line in said.lines) == 2


def test_a_stop_lets_every_worker_save_and_the_next_start_goes_on(tmp_path: Path) -> None:
    tasks = [Count("a", 40), Count("b", 41), Write("c")]
    said = Bars(stop_at=3)
    with pytest.raises(Interrupted, match="0 of 3 tasks done"):
        fan_out(tasks, LocalWorkers(2), work(tmp_path, said, threads=1))
    counts = [int((tmp_path / name).read_text()) for name in "ab" if (tmp_path / name).exists()]
    assert 3 <= max(counts) < 40  # of two workers, the other may have just begun
    assert not (tmp_path / "c").exists()
    assert not any(pid_alive(int(file.read_text())) for file in tmp_path.glob("*.pid"))
    said = Bars()
    outcomes = fan_out(tasks, LocalWorkers(2), work(tmp_path, said, threads=1))
    assert [each.error for each in outcomes] == [None] * 3
    assert (tmp_path / "b").read_text() == "41"
    assert said.bars["a: count"] == [40, 40, 0]  # it began where it was stopped, and every step was told
    assert said.bars["b: count"] == [41, 41, 0]


def test_a_signal_to_one_worker_stops_that_one_only(tmp_path: Path) -> None:
    class Signals(Bars):
        sent = False

        def stopping(self) -> bool:
            pid = tmp_path / "a.pid"
            if not self.sent and self.bars.get("a: count", [0, 0])[1] > 2:
                os.kill(int(pid.read_text()), signal.SIGINT)  # as `satm runs stop` does
                self.sent = True
            return False

    a, b = fan_out([Count("a"), Count("b", 30)], LocalWorkers(2), work(tmp_path, Signals(), threads=1))
    assert str(a.error).startswith("stopped at")
    assert b.error is None


def test_each_worker_takes_one_gpu_if_there_are_several(tmp_path: Path) -> None:
    asked: list[str] = []

    def gpus(device: str) -> list[str]:
        asked.append(device)
        return ["GPU-7", "GPU-9"]

    said = Bars()
    tasks = [Meet("m", 2), Meet("n", 2), Write("a"), Write("b"), Write("c")]
    fan_out(tasks, LocalWorkers(2, gpus=gpus), work(tmp_path, said, threads=1))
    assert asked == ["auto"]
    assert said.lines == ["2 worker processes, 1 CPU thread each, one of 2 GPUs each"]
    assert {(tmp_path / name).read_text().split()[2] for name in "abc"} <= {"GPU-7", "GPU-9"}
    one = tmp_path / "one"
    one.mkdir()
    fan_out([Write("a")], LocalWorkers(2, gpus=lambda device: ["0"]), work(one, threads=1))
    assert (one / "a").read_text().split()[2] == str(os.environ.get("CUDA_VISIBLE_DEVICES"))


def pid_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from satm.workflow.fan_out import LocalWorkers, Work, fan_out
from satm.workflow.fan_out.task import spell_threads
from tests.satm.workflow.fan_out.bars import Bars
from tests.satm.workflow.fan_out.tasks import Count
if __name__ == "__main__":
    work = Work(registry=Path({str(tmp_path)!r}) / "satm.db", threads=1)
    fan_out([Count("a"), Count("b")], LocalWorkers(2), work)
"""
    script = tmp_path / "start.py"
    script.write_text(program)
    parent = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        until(
            lambda: len(list(tmp_path.glob("*.pid"))) == 2 and all(each.read_text() for each in tmp_path.glob("*.pid"))
        )
        parent.kill()
        parent.wait()
        pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
        until(lambda: not any(map(pid_alive, pids)))
    finally:
        parent.kill()
        parent.wait()


def until(true: object, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("count", [0, -1])
def test_no_worker_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="expected at least 1"):
        LocalWorkers(count)
