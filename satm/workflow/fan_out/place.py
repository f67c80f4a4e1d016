"""Where tasks run: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from satm.workflow.fan_out.task import Outcome, Task, Work


class Place(Protocol):
    """Where tasks run."""

    @property
    def is_here(self) -> bool:
        """Whether all tasks run on this machine, with its memory and devices."""

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run all tasks; their outcomes in the order of `tasks`. Raises Interrupted if the user asks to stop.

        The paths of `work` are absolute.
        """
