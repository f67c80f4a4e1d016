"""Runs tasks on a Ray cluster. This process alone writes to the registry."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from registry import Registry
from satm.errors import ConfigError, SatmError, spelled
from satm.progress import SILENT
from satm.workflow.fan_out.messages import Began
from satm.workflow.fan_out.origin import Origin
from satm.workflow.fan_out.ray_worker import Board, remote_task, remove_scratch
from satm.workflow.fan_out.scratch import Returned, as_bytes, remove, take
from satm.workflow.fan_out.shown import Shown
from satm.workflow.fan_out.task import (
    Outcome,
    Task,
    Work,
    died_too_often,
    spell_threads,
    starts_again,
    stopped,
)

CONNECT_SECONDS = 5.0  # until a host that does not answer counts as no cluster
LOOK_SECONDS = 0.5  # between two looks at the board


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster that is running: `auto` is that of this machine, otherwise `HOST:PORT` or `ray://HOST:PORT`.

    Each task runs in a process of its own on any node. It writes a scratch registry in the `SATM_HOME` of its host,
    which this process merges when the task has ended. Experts lie in `SATM_HOME` too, so workers of one host share
    them, and another host trains its own, which are the same.
    """

    address: str = "auto"

    @property
    def is_here(self) -> bool:
        """Its nodes may be other machines."""
        return False

    def check(self) -> None:
        """Raise ConfigError if Ray is not installed here or nothing answers at the address."""
        _ray()
        _check_answers(self.address)

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks. One whose worker or node dies is started again, at most `retries` times."""
        with _connected(self.address) as ray:
            running = _Running(
                ray=ray,
                tasks=tasks,
                work=work,
                retries=retries,
                on_end=on_end,
                resources=shares(ray, work, len(tasks)),
            )
            try:
                running.until_done()
            except ray.exceptions.RayError as error:
                raise SatmError(
                    f"the Ray cluster {self.address} failed ({_first_line(error)}); the same command continues"
                ) from error
            finally:
                running.close()
        return [running.outcomes[index] for index in range(len(tasks))]


def _ray() -> Any:
    """The module `ray`. Raises ConfigError if it is not installed."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what is wrong, its exceptions say too
    try:
        with _same_signals():
            import ray
    except ImportError:
        raise ConfigError("Ray is not installed; install it with: pip install 'satm[ray]'") from None
    return ray


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to the cluster. A connection of this process is used if there is one."""
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    _check_answers(address)
    try:
        with _same_signals():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise _no_cluster(address, _first_line(error)) from None
    _keep_quiet()
    try:
        yield ray
    finally:
        ray.shutdown()


def _keep_quiet() -> None:
    """Ray prints a paragraph on stdout when a worker dies, whatever `log_to_driver` says; we say it in our words."""
    with suppress(ImportError, AttributeError, KeyError, ValueError):  # this part of Ray is not public
        from ray._private.ray_logging import global_worker_stdstream_dispatcher

        global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
        global_worker_stdstream_dispatcher.add_handler("ray_print_logs", lambda data: None)  # Ray removes it at its end


def _check_answers(address: str) -> None:
    """Raise ConfigError if nothing answers at the address. Ray itself would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdecimal() or not host:
        raise ConfigError(f"Ray cluster {address}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(address: str, reason: str) -> ConfigError:
    where = "on this machine" if address == "auto" else f"at {address}"
    return ConfigError(f"no Ray cluster {where} ({reason}); start one with: ray start --head; or give --workers N")


@contextmanager
def _same_signals() -> Iterator[None]:
    """Ray takes over SIGTERM when it is imported and when it connects; give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def shares(ray: Any, work: Work, tasks: int) -> dict[str, int]:
    """The CPUs and GPUs of each task. Raises ConfigError if no single node has so many.

    Unless `Work.threads` is given, the CPUs of the nodes that can take a task are shared out evenly.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise ConfigError("the Ray cluster has no CPUs; start its nodes with: ray start --num-cpus N")
    if work.device.startswith("cuda:"):  # a worker sees the GPU that Ray gave it, and no other
        raise ConfigError(f"device {work.device}: on a Ray cluster each task gets a GPU of its own; use --device cuda")
    having = [node for node in nodes if node.get("GPU", 0) >= 1]
    if work.device == "cuda" and not having:
        raise ConfigError("device cuda: no node of the Ray cluster has a GPU; use --device cpu")
    wanted = int(bool(having) and work.device in ("auto", "cuda"))
    cpus = [int(node["CPU"]) for node in (having if wanted else nodes)]
    threads = work.threads or max(1, min([*cpus, sum(cpus) // tasks]))
    if threads > max(cpus):
        which = "node with a GPU" if wanted else "node"
        raise ConfigError(f"--threads {threads}: the largest {which} of the Ray cluster has {max(cpus)} CPUs")
    each = spell_threads(threads) + (" and a GPU" if wanted else "")
    total = sum(int(node["CPU"]) for node in nodes)
    work.progress.say(f"Ray cluster of {len(nodes)} nodes and {total} CPUs; {each} for each task")
    return {"num_cpus": threads, "num_gpus": wanted}


@dataclass
class _Running:
    """The tasks of one fan-out on a cluster."""

    ray: Any
    tasks: Sequence[Task]
    work: Work
    retries: int
    on_end: Callable[[Outcome], None]
    resources: dict[str, int]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    open: dict[Any, int] = field(default_factory=dict)  # the results that are awaited, and the numbers of their tasks
    deaths: dict[int, int] = field(default_factory=dict)
    began: dict[int, Began] = field(default_factory=dict)
    shown: dict[int, Shown] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with Registry.open(self.work.registry, timeout=None) as store:
            self._uuid = store.uuid
        self._base = self.ray.put(as_bytes(self.work.registry))
        # On the node of this process: if another node dies, the messages are still there.
        here = self._affinity(self.ray.get_runtime_context().get_node_id(), soft=True)
        self._board = self.ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
        self._origin = Origin.of_this_process()
        # A process of its own for each task; deaths are counted here.
        self._remote = self.ray.remote(max_calls=1, max_retries=0, **self.resources)(remote_task)

    def _affinity(self, node: str, *, soft: bool) -> Any:
        """A strategy that schedules on this node. `soft`: elsewhere if it is gone."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=soft)

    def until_done(self) -> None:
        """Start all tasks and wait for them. Raises Interrupted."""
        for number in range(len(self.tasks)):
            self._start(number)
        stopping = False
        while self.open:
            if not stopping and self.work.progress.stopping():
                stopping = True
                self._stop()
            ready, _ = self.ray.wait(list(self.open), timeout=LOOK_SECONDS)
            self._show()
            for result in ready:
                self._end(self.open.pop(result), result, stopping=stopping)
        if stopping:
            raise stopped(self.outcomes.values(), len(self.tasks))

    def close(self) -> None:
        """End what is left if an error, or a second Ctrl-C, cuts the work off."""
        for shown in self.shown.values():
            shown.close()
        with suppress(self.ray.exceptions.RayError):
            for result in self.open:
                self.ray.cancel(result, force=True)
            self.ray.kill(self._board)

    def _start(self, number: int) -> None:
        task = self.tasks[number]
        remote = self._remote
        if (before := self.began.pop(number, None)) is not None:  # its saved state lies on this node
            remote = remote.options(scheduling_strategy=self._affinity(before.place, soft=True))
        work = replace(self.work, progress=SILENT, threads=self.resources["num_cpus"])
        result = remote.remote(pickle.dumps(task), number, work, self._base, self._uuid, self._board, self._origin)
        self.open[result] = number
        self.shown[number] = Shown(task.name, self.work.progress)

    def _stop(self) -> None:
        """Ask the tasks that have begun to stop, and take back the others."""
        self.ray.get(self._board.ask_to_stop.remote())
        self._show()
        for result, number in self.open.items():
            if number not in self.began:
                self.ray.cancel(result)

    def _show(self) -> None:
        for number, message in self.ray.get(self._board.take.remote()):
            if isinstance(message, Began):
                self.began[number] = message
            if number in self.shown:
                self.shown[number].see(message)

    def _end(self, number: int, result: Any, *, stopping: bool) -> None:
        """A task has ended: merge what it made and take its outcome, or start it again if its worker died."""
        self.shown.pop(number).close()
        errors = self.ray.exceptions
        try:
            returned: Returned = self.ray.get(result)
        except errors.TaskCancelledError:
            return
        except errors.RayTaskError as error:  # before our code runs: no satm on that host, or another version
            self._take(number, f"its Ray worker failed: {_first_line(error.cause or error)}")
        except errors.RayError as error:
            self._died(number, _spell_death(error), stopping=stopping)
        else:
            self._merge(number, returned, stopping=stopping)

    def _merge(self, number: int, returned: Returned, *, stopping: bool) -> None:
        error = returned.ended.error
        if returned.content != b"":
            try:
                take(returned, self.work.registry)
            except (SatmError, OSError) as failed:  # the scratch registry stays, so nothing is lost
                error = f"{spelled(failed)}; what it made is kept, and the same command takes it"
        if error is None:
            self._remove(number, returned)
        if not (returned.ended.stopped and stopping):
            self._take(number, error)

    def _remove(self, number: int, returned: Returned) -> None:
        """Remove the scratch registry of a task that is done."""
        if returned.content is None:
            remove(returned.path)
        elif (began := self.began.get(number)) is not None:
            where = self._affinity(began.place, soft=False)
            done = self.ray.remote(num_cpus=0, scheduling_strategy=where)(remove_scratch).remote(returned.path)
            with suppress(self.ray.exceptions.RayError):  # that node is gone, and the file with it
                self.ray.get(done, timeout=60)

    def _died(self, number: int, why: str, *, stopping: bool) -> None:
        self.deaths[number] = deaths = self.deaths.get(number, 0) + 1
        if stopping:
            return
        if deaths > self.retries:
            self._take(number, died_too_often(deaths, why))
        else:
            self.work.progress.say(f"{self.tasks[number].name}: {starts_again(why)}")
            self._start(number)

    def _take(self, number: int, error: str | None) -> None:
        outcome = Outcome(task=self.tasks[number], error=error, deaths=self.deaths.get(number, 0))
        self.outcomes[number] = outcome
        self.on_end(outcome)


def _spell_death(error: Exception) -> str:
    return {"WorkerCrashedError": "its worker crashed", "OutOfMemoryError": "Ray ended it for lack of memory"}.get(
        type(error).__name__, f"{type(error).__name__}"
    )
