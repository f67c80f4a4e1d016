"""The process of a session: where it runs, and whether it still does."""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any

from registry.records import RunRecord

SILENT_SECONDS = 3600.0
_TOLERANCE = 2.0  # seconds; the start of a process moves a little if the clock of its host is set


def this_process() -> dict[str, Any]:
    """Host, process, folder and arguments of this process, by the columns of a run."""
    import psutil

    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
        "folder": os.getcwd(),
        "arguments": tuple(sys.argv),
    }


def is_here(run: RunRecord) -> bool:
    """Whether the last session of the run is or was on this host."""
    return run.host == socket.gethostname()


def state(run: RunRecord) -> str:
    """What the run does now: its status, except that a `running` run may be `dead`, `silent` or `unknown`.

    `dead`: its process on this host has ended. `silent`: it is on another host and has stored nothing for an hour.
    `unknown`: an older version of satm started it, which stored no process.
    """
    if run.status != "running":
        return run.status
    if run.host is None:
        return "unknown"
    if is_here(run):
        return "dead" if process_of(run) is None else "running"
    age = datetime.now(UTC) - datetime.fromisoformat(run.updated)
    return "silent" if age.total_seconds() > SILENT_SECONDS else "running"


def process_of(run: RunRecord) -> Any | None:
    """The live process (`psutil.Process`) of the run's last session; None if it has ended or is on another host.

    Another process that has the number of an ended one started later, so its start tells them apart.
    """
    if not is_here(run) or run.pid is None or run.process_started is None:
        return None
    return alive(host=run.host, pid=run.pid, process_started=run.process_started)


def alive(*, host: str | None, pid: int, process_started: float) -> Any | None:
    """The live process of this host that began at `process_started`; None if it has ended or is on another host."""
    import psutil

    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - process_started) < _TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
