"""Runs tasks in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from satm.errors import Interrupted, SatmError
from satm.workflow.fan_out.task import Outcome, Task, Work


@dataclass(frozen=True)
class OneProcess:
    """This process. It cannot outlive a task that kills it, so nothing is retried: start the command again."""

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks in their order. Raises Interrupted if the user asks to stop."""
        outcomes = []
        for task in tasks:
            try:
                task.run(work)
                outcome = Outcome(task=task)
            except Interrupted:
                raise
            except SatmError as error:
                outcome = Outcome(task=task, error=str(error))
            outcomes.append(outcome)
            on_end(outcome)
        return outcomes
