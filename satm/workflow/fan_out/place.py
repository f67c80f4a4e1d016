"""The interface of the places where tasks run: this process, several processes, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from satm.workflow.fan_out.task import Outcome, Task, Work


class Place(Protocol):
    """A place where tasks run."""

    @property
    def is_here(self) -> bool:
        """Whether all tasks run on this machine, with its memory and devices."""

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run all tasks, and return their outcomes in the order of `tasks`.

        Args:
            tasks: the tasks; none depends on another.
            work: what each task works with. Its paths are absolute.
            retries: how many times a task is started again if its process dies.
            on_end: is called in this process after each task, with its outcome.

        Raises Interrupted if the user asks to stop.
        """
