"""What is fanned out: a task, what it works with, and how it ended."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from satm.errors import TRACEBACK, Interrupted, explained, spelled
from satm.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a task works with. A worker has its own: its registry, its device, its threads, its progress."""

    registry: Path
    device: str = "auto"
    threads: int | None = None  # CPU threads of each task; None: the cores of the machine, shared out fairly
    data_root: Path | None = None
    progress: Progress = SILENT


class Task(Protocol):
    """A piece of work that needs no other one. It can be pickled, so it is a frozen dataclass of plain values."""

    @property
    def name(self) -> str:
        """Names the task to people. No two tasks of one fan-out have the same name."""

    def run(self, work: Work) -> None:
        """Do the task. What is done already is found, and what is unfinished is continued. Raises SatmError."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    task: Task
    error: str | None = None  # one line that says what went wrong; None: the task is done
    deaths: int = 0  # how many times its process died before


def attempt(task: Task, work: Work) -> str | None:
    """Run a task. Returns what went wrong in one line, None if nothing did. Raises Interrupted.

    With SATM_TRACEBACK set, the progress also shows where an error that nobody expected was raised.
    """
    try:
        task.run(work)
    except Interrupted:
        raise
    except Exception as error:
        if os.environ.get(TRACEBACK) and explained(error) is None:
            for line in "".join(traceback.format_exception(error)).splitlines():
                work.progress.say(line)
        return " ".join(spelled(error).split())
    return None


def starts_again(why: str) -> str:
    """What the user reads if a process died and its task starts again."""
    return f"its process died ({why}); it starts again from what is saved"


def died_too_often(deaths: int, why: str) -> str:
    """The error of a task whose process died more often than it may."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return (
        f"its process died {times}, at last by {why}; if memory ran out, give fewer workers; the same command "
        "continues from what is saved"
    )


def stopped(outcomes: Collection[Outcome], total: int) -> Interrupted:
    """The error that ends a fan-out of `total` tasks if the user asks to stop."""
    done = sum(outcome.error is None for outcome in outcomes)
    return Interrupted(
        f"stopped with {done} of {total} tasks done, and what the others did is saved; the same command continues "
        "from there"
    )


def spell_threads(threads: int) -> str:
    """`1 CPU thread`, `2 CPU threads`."""
    return f"{threads} CPU thread{'' if threads == 1 else 's'}"
