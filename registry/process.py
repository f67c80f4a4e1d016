"""Finds out where the process of a run's session is, and whether it still runs.

A run is one piece of long work. It has a new session, in a new process, each time that it is resumed.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from registry.records import RunRecord

SILENT_SECONDS = 3600.0  # a run on another host is `silent` if it has stored nothing for more seconds than this
_TOLERANCE = 2.0  # seconds; the start time that psutil gives changes a little if the clock of the host is changed


class State(StrEnum):
    """What a run does now; `state` says when a run is in which state."""

    RUNNING = "running"
    DONE = "done"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DEAD = "dead"
    SILENT = "silent"
    UNKNOWN = "unknown"


def this_process() -> dict[str, Any]:
    """Return the host, number, start time, folder and arguments of this process, by the column names of a run."""
    import psutil

    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "folder": os.getcwd(),
        "arguments": tuple(sys.argv),
    }


def is_here(run: RunRecord) -> bool:
    """Return whether the last session of the run is or was on this host."""
    return run.host == socket.gethostname()


def state(run: RunRecord) -> State:
    """Return what the run does now. If its stored status is not `running`, this is the stored status.

    A run with the stored status `running` is in one of four states. `running`: its process runs on this host, or it is
    on another host and has stored something within the last hour. `dead`: its process on this host has ended. `silent`:
    it is on another host and has stored nothing for an hour. `unknown`: its last session was one of an older version of
    satm, which did not store the process.
    """
    if run.status != "running":
        return State(run.status)
    if run.host is None:
        return State.UNKNOWN
    if is_here(run):
        return State.DEAD if process_of(run) is None else State.RUNNING
    age = datetime.now(UTC) - datetime.fromisoformat(run.updated)
    return State.SILENT if age.total_seconds() > SILENT_SECONDS else State.RUNNING


def process_of(run: RunRecord) -> Any | None:
    """Return the running process (`psutil.Process`) of the run's last session.

    Returns None if the process has ended or is on another host. The system may give the number of an ended process to a
    new one. The start times of the two differ, so the start time is compared too.
    """
    if not is_here(run) or run.pid is None or run.process_started is None:
        return None
    return alive(host=run.host, pid=run.pid, process_started=run.process_started)


def alive(*, host: str | None, pid: int, process_started: float) -> Any | None:
    """Return the running process with number `pid` that began at `process_started` (seconds since 1970).

    Returns None if the process has ended or is on another host.
    """
    import psutil

    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - process_started) < _TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
