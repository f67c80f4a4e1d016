"""Tasks on a real Ray cluster of three nodes on this machine: one writer to the registry, one worker killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from registry import Registry
from satm.errors import ConfigError, Interrupted
from satm.workflow.fan_out import OneProcess, RayCluster, Work, fan_out, origin
from satm.workflow.fan_out.ray_cluster import shares
from tests.satm.workflow.fan_out.bars import Bars
from tests.satm.workflow.fan_out.tasks import Cell, Count, Write, contents

ROOT = Path(__file__).parents[4]
CELLS = [Cell(0, steps=40), Cell(1, steps=40), Cell(2, "random")]

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'satm[ray]'")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of three nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("RAY_ADDRESS", raising=False)
        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster = Cluster()
        for index in range(3):
            add_node(cluster, **small, **({} if index else {"include_dashboard": False}))
        cluster.wait_for_nodes(timeout=300)
        yield cluster.address
        cluster.shutdown()
    signal.signal(signal.SIGTERM, handler)


def add_node(cluster: Any, **options: object) -> None:
    """A new node. Its parts have 15 s to start, too few on some machines: then the test is skipped."""
    for left in reversed(range(5)):
        try:
            cluster.add_node(**options)
        except Exception as error:
            if not left:
                pytest.skip(f"no Ray node starts on this machine, in five tries: {error}")
        else:
            return


def kill_one(home: Path, killed: list[int]) -> None:
    """Kill the first worker that has stored measurements of a condensation, by what its scratch registry says."""
    ends = time.monotonic() + 500
    while time.monotonic() < ends:
        for file in (home / "ray").glob("*.db"):
            try:
                with sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0) as db:
                    rows = db.execute("SELECT pid FROM runs WHERE kind = 'condense' AND method = 'mtt'").fetchall()
            except sqlite3.Error:
                continue
            if rows:
                os.kill(rows[0][0], signal.SIGKILL)
                killed.append(rows[0][0])
                return
        time.sleep(0.05)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_gives_the_bits_of_one_process_though_a_worker_is_killed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, alone = tmp_path / "satm.db", tmp_path / "alone" / "satm.db"
    alone.parent.mkdir()
    home = Path(os.environ["SATM_HOME"])
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(home, killed))
    killer.start()
    said = Bars()
    outcomes = fan_out(CELLS, RayCluster(address), Work(registry=registry, device="cpu", threads=1, progress=said))
    killer.join()
    assert len(killed) == 1
    assert [each.error for each in outcomes] == [None] * 3
    assert sum(each.deaths for each in outcomes) == 1
    assert any("its worker crashed" in line for line in said.lines)
    assert "Ray cluster of 3 nodes and 3 CPUs" in said.lines[0]
    with Registry.open(registry, read_only=True) as store:
        runs = [run for run in store.runs() if run.kind == "condense"]
        assert {run.pid for run in runs}.isdisjoint({os.getpid()})
        assert sorted(run.sessions for run in runs) == [1, 1, 2]  # the one that was killed went on
    assert not list((home / "ray").glob("*.db"))  # all is merged
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "other"))
    fan_out(CELLS, OneProcess(), Work(registry=alone, device="cpu", threads=1))
    assert contents(registry) == contents(alone)
    assert len(contents(alone)[0]) == 3
    again = fan_out(CELLS, RayCluster(address), Work(registry=alone, device="cpu", threads=1))  # all is found
    assert [each.error for each in again] == [None] * 3
    assert contents(alone) == contents(registry)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_on_another_host_sends_its_registry(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin.socket, "gethostname", lambda: "elsewhere")
    registry = tmp_path / "satm.db"
    handler = signal.getsignal(signal.SIGTERM)
    (outcome,) = fan_out([Cell(2, "random")], RayCluster(address), Work(registry=registry, device="cpu", threads=1))
    assert outcome.error is None
    assert len(contents(registry)[0]) == 1
    assert not list((tmp_path / "home" / "ray").glob("*.db"))
    assert signal.getsignal(signal.SIGTERM) == handler


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_stop_is_for_all_and_a_failure_for_one(address: str, tmp_path: Path) -> None:
    registry = tmp_path / "satm.db"
    tasks = [Count("a"), Count("b"), Count("c"), Count("d")]  # three CPUs: one of them waits
    with pytest.raises(Interrupted, match="0 of 4 tasks done"):
        fan_out(tasks, RayCluster(address), Work(registry=registry, threads=1, progress=Bars(stop_at=3)))
    files = [tmp_path / "home" / "ray" / name for name in "abcd"]
    counted = [int(file.read_text()) for file in files if file.exists()]
    assert counted
    assert max(counted) < 10_000
    failing = [Write("w", ValueError("x")), Write("v")]
    w, v = fan_out(failing, RayCluster(address), Work(registry=registry, threads=1))
    assert str(w.error).startswith("ValueError: x")
    assert v.error is None


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:99999"])
def test_no_cluster_at_an_address_is_one_line(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Ray cluster at"):
        RayCluster(address).check()


@needs_ray
@pytest.mark.parametrize("address", ["here", ":1", "host:", "host:x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, HOST:PORT or ray://HOST:PORT"):
        RayCluster(address).check()


class Nodes:
    """A cluster of nodes with these CPUs and GPUs, as Ray lists them."""

    def __init__(self, *nodes: tuple[int, int]) -> None:
        self._nodes = [{"Alive": True, "Resources": {"CPU": float(c), "GPU": float(g)}} for c, g in nodes]

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


@pytest.mark.parametrize(
    ("nodes", "device", "threads", "tasks", "given"),
    [
        ([(8, 0), (4, 0)], "auto", None, 3, (4, 0)),
        ([(64, 0), (4, 1)], "auto", None, 2, (2, 1)),  # only the node with the GPU can take a task
        ([(64, 0), (4, 1)], "cpu", 64, 2, (64, 0)),
        ([(64, 0), (4, 1)], "cuda", 8, 2, "--threads 8: the largest node with a GPU of the Ray cluster has 4 CPUs"),
        ([(64, 0)], "cuda", None, 2, "no node of the Ray cluster has a GPU"),
        ([(4, 2)], "cuda:1", None, 2, "use --device cuda"),
    ],
)
def test_what_a_task_is_given_fits_one_node(nodes, device: str, threads: int | None, tasks: int, given: Any) -> None:
    work = Work(registry=Path("satm.db"), device=device, threads=threads)
    if isinstance(given, str):
        with pytest.raises(ConfigError, match=given):
            shares(Nodes(*nodes), work, tasks)
        return
    found = shares(Nodes(*nodes), work, tasks)
    assert (found["num_cpus"], found["num_gpus"]) == given


def test_without_ray_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'satm\[ray\]'"):
        RayCluster().check()
