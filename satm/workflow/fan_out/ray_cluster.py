"""Runs tasks on a Ray cluster. Only this process writes to the user's registry."""

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

CONNECT_SECONDS = 5.0  # how long to wait for a host; if it does not answer by then, there is no cluster
LOOK_SECONDS = 0.5  # the time between two checks of the board, which collects the messages of the workers


@dataclass(frozen=True)
class RayCluster:
    """The place that runs each task in its own process on a node of a running Ray cluster.

    A task writes to a temporary registry on its host, the scratch registry (`satm/workflow/fan_out/scratch.py`). When
    the task has ended, this process merges the scratch registry into the user's registry. Experts are stored in the
    `SATM_HOME` of a host, so workers on the same host share them. Another host trains the same experts for itself.
    """

    address: str = "auto"  # `auto`: the cluster of this machine; otherwise `HOST:PORT` or `ray://HOST:PORT`

    @property
    def is_here(self) -> bool:
        """False: the nodes may be other machines."""
        return False

    def check(self) -> None:
        """Raise ConfigError if Ray is not installed here, or if no program listens at the address.

        With the address `auto` only the first is checked.
        """
        _ray()
        _check_answers(self.address)

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks and return their outcomes in the order of `tasks`. Raises Interrupted if the user asks to stop.

        If the worker or the node of a task dies, the task is started again, at most `retries` times. Raises SatmError
        if the cluster fails, and ConfigError if there is no cluster or it lacks the CPUs or GPUs that a task needs.
        """
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
    """Import and return the module `ray`. Raises ConfigError if it is not installed."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the log is not needed: Ray's exceptions say what is wrong
    try:
        with _same_signals():
            import ray
    except ImportError:
        raise ConfigError("Ray is not installed; install it with: pip install 'satm[ray]'") from None
    return ray


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster.

    A connection that this process already has is used and stays. A new connection is closed after the `with` block.
    """
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
    """Remove the handler with which Ray prints a long text on stdout when a worker dies.

    Ray does so even with `log_to_driver=False`. satm shows a message of its own instead.
    """
    with suppress(ImportError, AttributeError, KeyError, ValueError):  # this part of Ray is private and may change
        from ray._private.ray_logging import global_worker_stdstream_dispatcher

        global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
        # An empty handler of the same name is needed, because Ray removes the handler when it shuts down.
        global_worker_stdstream_dispatcher.add_handler("ray_print_logs", lambda data: None)


def _check_answers(address: str) -> None:
    """Raise ConfigError if the address has a wrong form or no program listens at it. `auto` is not checked.

    Ray itself would try for a minute before it raises an error.
    """
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
    """Restore the handler of SIGTERM after the `with` block. Ray replaces it when it is imported or connects."""
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
    """Return the CPUs and GPUs that each task gets, as the options `num_cpus` and `num_gpus` of Ray.

    `tasks` is the number of tasks. Unless `Work.threads` is given, each task gets an equal share of the CPUs of all
    nodes that can run a task, but not more CPUs than the smallest of these nodes has. Raises ConfigError if no node has
    enough CPUs or the GPU that is asked for, or if the device is a certain GPU such as `cuda:1`.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise ConfigError("the Ray cluster has no CPUs; start its nodes with: ray start --num-cpus N")
    if work.device.startswith("cuda:"):  # a worker sees only the GPU that Ray has given it, so it cannot choose
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
    """The state of one call of `RayCluster.run`. A task is named by its number, its position in `tasks`."""

    ray: Any  # the module
    tasks: Sequence[Task]
    work: Work
    retries: int
    on_end: Callable[[Outcome], None]
    resources: dict[str, int]  # the CPUs and GPUs of each task (`shares`)
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by the number of the task
    open: dict[Any, int] = field(default_factory=dict)  # maps each result that has not come to the number of its task
    deaths: dict[int, int] = field(default_factory=dict)  # how many times the worker of a task has died, by its number
    began: dict[int, Began] = field(default_factory=dict)  # the newest message that a task has begun, by its number
    shown: dict[int, Shown] = field(default_factory=dict)  # what the user sees of a task, by its number

    def __post_init__(self) -> None:
        with Registry.open(self.work.registry, timeout=None) as store:
            self._uuid = store.uuid
        self._base = self.ray.put(as_bytes(self.work.registry))
        # The board runs on the node of this process, so that the messages are not lost if another node dies.
        here = self._affinity(self.ray.get_runtime_context().get_node_id(), soft=True)
        self._board = self.ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
        self._origin = Origin.of_this_process()
        # With max_calls=1 each task gets a new process. With max_retries=0 Ray starts nothing again; `_died` does it.
        self._remote = self.ray.remote(max_calls=1, max_retries=0, **self.resources)(remote_task)

    def _affinity(self, node: str, *, soft: bool) -> Any:
        """Return Ray's strategy to run something on the node with the id `node`.

        If that node is gone, another node is used with `soft`; without it, Ray raises an error.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=soft)

    def until_done(self) -> None:
        """Start all tasks and wait until they have ended. Raises Interrupted at the end if the user asked to stop."""
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
        """Cancel the tasks that still run, and end the board.

        There are such tasks only if an error or a second Ctrl-C has ended the work early.
        """
        for shown in self.shown.values():
            shown.close()
        with suppress(self.ray.exceptions.RayError):
            for result in self.open:
                self.ray.cancel(result, force=True)
            self.ray.kill(self._board)

    def _start(self, number: int) -> None:
        task = self.tasks[number]
        remote = self._remote
        if (before := self.began.pop(number, None)) is not None:  # the saved state of the task is on that node
            remote = remote.options(scheduling_strategy=self._affinity(before.place, soft=True))
        work = replace(self.work, progress=SILENT, threads=self.resources["num_cpus"])
        result = remote.remote(pickle.dumps(task), number, work, self._base, self._uuid, self._board, self._origin)
        self.open[result] = number
        self.shown[number] = Shown(task.name, self.work.progress)

    def _stop(self) -> None:
        """Ask the tasks that have begun to stop, and cancel the tasks that have not begun."""
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
        """Handle a task that has ended: merge what it made and store its outcome, or start it again if it died."""
        self.shown.pop(number).close()
        errors = self.ray.exceptions
        try:
            returned: Returned = self.ray.get(result)
        except errors.TaskCancelledError:
            return
        except errors.RayTaskError as error:  # raised before our code runs: satm is missing there, or another version
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
            except (SatmError, OSError) as failed:  # the scratch registry is not removed, so nothing is lost
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
            with suppress(self.ray.exceptions.RayError):  # raised if that node is gone; then the file is gone too
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
