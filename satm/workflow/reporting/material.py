"""The data of a report: the groups of sets, their results, and the runs that made them. They are read only once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from registry import Group, Registry, RunRecord, SetRecord
from satm.workflow.grouped import GroupRow, stored_rows

T = TypeVar("T")

PANELS = 6  # the largest number of figures of one kind in a report
LINES = 8  # the largest number of lines in a figure; a reader cannot tell more lines apart
ROWS = 2000  # the largest number of rows of a table; more rows are slow in a browser, and nobody reads them


@dataclass(frozen=True, kw_only=True)
class Material:
    """The data that the sections of a report read."""

    store: Registry  # open for reading
    references: tuple[str, ...]  # the names of the sets and groups that the user chose; () means all
    groups: tuple[Group, ...]
    # All results, without the accuracy matrices of class-incremental streams; of a stream, only the results after its
    # last step.
    rows: tuple[GroupRow, ...]
    steps: tuple[GroupRow, ...]  # the accuracies after each step of class-incremental streams
    runs: dict[str, RunRecord]  # all runs of the registry; the keys are their ids

    def recipe(self, row: GroupRow) -> str:
        """The name of a row's recipe in titles.

        If another recipe has the same name, the first digits of the recipe's id follow in brackets.
        """
        return f"{row.recipe} ({row.cell.recipe_id[:8]})" if row.recipe in self._shared_names else row.recipe

    @cached_property
    def _shared_names(self) -> set[str]:
        """The recipe names that more than one recipe has."""
        recipes = {(row.recipe, row.cell.recipe_id) for row in (*self.rows, *self.steps)}
        return {name for name, count in Counter(name for name, _ in recipes).items() if count > 1}

    @property
    def sets(self) -> list[SetRecord]:
        """The sets of all groups, the oldest first."""
        found = {each.id: each for group in self.groups for each in group.sets}  # a set can be in two groups
        return sorted(found.values(), key=lambda each: each.created)

    def run_of(self, record: SetRecord) -> RunRecord | None:
        """The run that made a set; None for an imported set."""
        return None if record.run_id is None else self.runs.get(record.run_id)


def gather(store: Registry, references: Sequence[str]) -> Material:
    """Read the data of a report about the sets that `references` name, or about all sets if `references` is empty.

    Raises the errors of `Registry.group`.
    """
    groups = [store.group(name) for name in references] if references else store.groups()
    rows = list(stored_rows(store, groups, some=bool(references), matrix=False))
    return Material(
        store=store,
        references=tuple(references),
        groups=tuple(groups),
        rows=tuple(row for row in rows if row.cell.step == row.cell.steps),
        steps=tuple(row for row in rows if row.cell.incremental and row.cell.metric == "accuracy"),
        runs={run.id: run for run in store.runs()},
    )


def panels(
    rows: Iterable[T], key: Callable[[T], Hashable], most: int = PANELS
) -> tuple[list[tuple[Any, list[T]]], int]:
    """Group the rows by their `key`.

    Returns at most `most` pairs (key, its rows), the key with the most rows first, and the number of keys that are left
    out.
    """
    found: dict[Any, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    ordered = sorted(found.items(), key=lambda each: -len(each[1]))
    return ordered[:most], max(0, len(ordered) - most)


def left_out(number: int, what: str) -> str:
    """The line that says how many things a report leaves out; "" if `number` is 0. `what` is a noun in the plural."""
    return (
        f"{number:,} more {what} are not shown: satm report SET… shows those of the sets that you name."
        if number
        else ""
    )
