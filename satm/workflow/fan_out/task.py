"""What is fanned out: a task, what it works with, how it ended, and the place where tasks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from satm.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a task works with. In a worker it is the worker's own: its registry, its device, its threads."""

    registry: Path
    device: str = "auto"
    threads: int | None = None  # of each task; None: a fair share of the cores
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
    error: str | None = None  # the message of its SatmError, or that its process died too often; None: it is done
    deaths: int = 0  # how many times its process died before that


class Place(Protocol):
    """Where tasks run."""

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run all tasks; their outcomes in the order of `tasks`. Raises Interrupted if the user asks to stop."""
