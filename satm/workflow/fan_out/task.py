"""The interface of a task, what a task works with, and how it ended."""

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
    """What a task works with. Each worker gets its own `Work`."""

    registry: Path
    device: str = "auto"
    threads: int | None = None  # the CPU threads of each task; None: each task gets an equal share of the CPU cores
    data_root: Path | None = None  # the only folder in which data sets are looked for; None: the usual places
    progress: Progress = SILENT


class Task(Protocol):
    """A piece of work that does not depend on another task.

    A task must be picklable, because it is sent to another process. Therefore every task is a frozen dataclass of
    plain values.
    """

    @property
    def name(self) -> str:
        """The name that the user sees. All tasks of one call of `fan_out` must have different names."""

    def run(self, work: Work) -> None:
        """Do the task. Finished work is not repeated, and unfinished work is continued. Raises SatmError."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended."""

    task: Task
    error: str | None = None  # one line that says what went wrong; None: the task is done
    deaths: int = 0  # how many times the process of the task has died


def attempt(task: Task, work: Work) -> str | None:
    """Run a task. Returns one line about what went wrong, or None if nothing went wrong.

    Raises Interrupted if the user asks to stop. If the variable SATM_TRACEBACK is set, the traceback of an unexpected
    error is shown to the user.
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
    """Return the message for the user if a process died and its task starts again."""
    return f"its process died ({why}); it starts again from what is saved"


def died_too_often(deaths: int, why: str) -> str:
    """Return the error message of a task whose process has died too often: the task is not started again."""
    times = "once" if deaths == 1 else f"{deaths} times"
    return (
        f"its process died {times}, at last by {why}; if memory ran out, give fewer workers; the same command "
        "continues from what is saved"
    )


def stopped(outcomes: Collection[Outcome], total: int) -> Interrupted:
    """Return the error that ends the work on `total` tasks if the user asks to stop."""
    done = sum(outcome.error is None for outcome in outcomes)
    return Interrupted(
        f"stopped with {done} of {total} tasks done, and what the others did is saved; the same command continues "
        "from there"
    )


def spell_threads(threads: int) -> str:
    """Return the number with its unit: `1 CPU thread`, `2 CPU threads`."""
    return f"{threads} CPU thread{'' if threads == 1 else 's'}"
