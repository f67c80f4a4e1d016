"""The main function of this package: runs tasks at a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from satm.errors import ConfigError
from satm.workflow.fan_out.place import Place
from satm.workflow.fan_out.task import Outcome, Task, Work


def _ignore(outcome: Outcome) -> None:
    pass


def fan_out(
    tasks: Sequence[Task],
    place: Place,
    work: Work,
    *,
    retries: int = 2,
    on_end: Callable[[Outcome], None] = _ignore,
) -> list[Outcome]:
    """Run all `tasks` at `place`, and return their outcomes in the order of `tasks`.

    If a task fails, its outcome has the message of the error, and the other tasks go on. If the process of a task dies,
    the task is started again up to `retries` times and continues from its saved state. `on_end` is called in this
    process after each task, with its outcome.

    Raises Interrupted if the user asks to stop, after every task has saved its state. Raises ConfigError if two tasks
    have the same name, or if the place does not have the device or the threads of `work`.
    """
    names = [task.name for task in tasks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two tasks are called {twice}; each needs a name of its own")
    if not tasks:
        return []
    # The paths are made absolute, because a worker may have another working directory.
    work = replace(
        work,
        registry=work.registry.expanduser().absolute(),
        data_root=None if work.data_root is None else work.data_root.expanduser().absolute(),
    )
    return place.run(tasks, work, retries=retries, on_end=on_end)
