"""Stops and removes runs. This module does not import torch, so that it loads fast."""

from __future__ import annotations

import signal

from registry import Registry, RunRecord
from registry.identity import is_of
from registry.process import is_here, process_of, state
from satm.errors import RegistryError
from satm.home import held_now
from satm.workflow.housekeeping import lock_of, run_files


def stop_run(run: RunRecord) -> int:
    """Ask the process of a run to stop at its next safe point, as Ctrl-C does. Returns the process id.

    Raises RegistryError if the run is not running, if it runs on another host, or if its process has ended. The process
    is also taken as ended if its id now belongs to another process.
    """
    import psutil

    if run.status != "running":
        raise RegistryError(f"run {run.id} is not running, it is {run.status}")
    if run.host is None:
        raise RegistryError(f"run {run.id} is of an older version of satm, which stored no process; stop it by Ctrl-C")
    if not is_here(run):
        raise RegistryError(f"run {run.id} runs on {run.host}; stop it there")
    process = process_of(run)
    if process is None:
        raise RegistryError(f"run {run.id} is dead: process {run.pid} has ended; satm runs resume {run.id} goes on")
    try:
        process.send_signal(signal.SIGINT)
    except psutil.Error as error:
        raise RegistryError(f"run {run.id}: process {run.pid} cannot be stopped ({error}); ask its owner") from None
    return int(process.pid)


def check_stopped(run: RunRecord) -> None:
    """Raise RegistryError if the run is running now."""
    if state(run) == "running":
        raise RegistryError(f"run {run.id} is running on {run.host} as process {run.pid}; stop it first")


def remove_run(store: Registry, run: RunRecord) -> int:
    """Remove a run that made no set or result, with its metrics and its saved state.

    Returns the number of bytes of the saved state. Raises RegistryError if the run is running, or if something stored
    refers to it.
    """
    from filelock import Timeout

    check_stopped(run)
    try:
        with held_now(lock_of(run.key), remove=True):
            store.remove_run(run.id)
            # If this registry is a copy of another one, the saved states of some of its runs belong to the original
            # registry. These states are not removed.
            files = run_files(run.key) if is_of(run.key, store.uuid) else []
            size = sum(file.stat().st_size for file in files)
            for file in files:
                file.unlink(missing_ok=True)
    except Timeout:
        raise RegistryError(f"run {run.id} is held by another process; stop that first") from None
    return size
