"""The result rows of one class-incremental evaluation.

They are stored after each step, and are read again if the evaluation is continued.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from evaluation import RateChoice
from protocols.base import State
from protocols.order import Steps
from protocols.result import IncrementalResult, StepResult
from protocols.run import Earlier
from registry import Registry, ResultRow
from satm.machine.fused import Trained
from satm.rng import Seed
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.evaluate.rows import GRID as CHOICE
from satm.workflow.evaluate.rows import Tested
from satm.workflow.former_runs import state_of
from satm.workflow.incremental.memories import SAW_ALL
from satm.workflow.incremental.naming import GUESSED, repeat_of

GRID = "grid on validation"
"""How results name the source of a learning rate that was chosen from the recipe's grid."""
ON_ALL = "the learning rate was chosen on validation images of all classes"
ON_ALL_DOMAINS = "the learning rate was chosen on validation images of all domains"


def on_all(steps: Steps) -> str:
    """Return the line that says that a learning rate of the grid saw what arrives in later steps."""
    return ON_ALL if steps.domains is None else ON_ALL_DOMAINS


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network on one class order of an evaluation."""

    order: int  # the number of the class order, from 0
    network: int  # the number of the network on this class order, from 0
    steps: Steps  # what arrives in each incremental step
    rates: tuple[float, ...]  # the learning rate of each step
    policy: str  # where the learning rates come from, such as "fixed" or `GRID`
    choice: RateChoice | None = None  # how the learning rate was chosen; None if it does not come from the grid
    seed: Seed
    parts: tuple[str, ...]  # the ids of the sets that are joined in the memory; () if it is a single set
    # Returns how the networks were trained (for example in compiled code). It is a function because this is known only
    # after the training.
    trained: Callable[[], Trained]

    @property
    def repeat(self) -> int:
        """The repeat number in result rows: order + 1000 · network (`repeat_of`)."""
        return repeat_of(self.order, self.network)


@dataclass(kw_only=True)
class Rows:
    """Stores and reads the result rows of one evaluation."""

    store: Registry
    like: ResultRow  # a model for new rows: it has the values that are the same in all rows of the evaluation
    detail: Mapping[str, Any]  # details that are stored with every row
    last_only: bool  # whether the protocol is judged only after the last step
    tested: Tested | None = None  # the test images, if the predictions on them are stored
    must_have_predictions: bool = False  # whether a cell is run again if its predictions are not stored
    there: list[ResultRow] = field(init=False)  # the rows that were stored before this session

    def __post_init__(self) -> None:
        found = self.store.results(set=self.like.set_id, **self._same)
        self.there = [row for row in found if row.protocol == self.like.protocol]

    @property
    def _same(self) -> dict[str, Any]:
        """The values, apart from the set, that all rows and predictions of this evaluation share."""
        names = ("protocol", "architecture", "memory", "recipe_id", "steps")
        return {name: getattr(self.like, name) for name in names}

    def chosen_rate(self) -> RateChoice | None:
        """The learning rate that an earlier session chose from the grid; None if no session did."""
        chosen = (row for row in self.there if "grid" in row.detail["policy"])
        return next((RateChoice.from_facts(row.step_size, row.detail.get(CHOICE, {})) for row in chosen), None)

    def complete(self, cell: Cell) -> bool:
        """Whether every number of this cell is stored, and also its predictions if `must_have_predictions`."""
        values = self._values(cell)
        # `add_scores` stores this metric and the scores last, in one transaction: if it is there, all rows are there.
        return (_untrained(_on(0)), self.like.steps) in values and not self._lacks_predictions(cell, values)

    def final(self, cell: Cell) -> float:
        """The final accuracy of a complete cell."""
        return self._values(cell)["final_accuracy", self.like.steps].value

    def earlier(self, cell: Cell) -> Earlier:
        """The stored results of a cell's steps up to the first missing step, and the learner's state after them."""
        values, steps = self._values(cell), self.like.steps
        if self._lacks_predictions(cell, values):
            return Earlier()
        found = []
        for step in range(steps - 1 if self.last_only else 0, steps):
            columns, masked = [_on(j) for j in range(steps)], [_masked_on(j) for j in range(steps)]
            if any((metric, step + 1) not in values for metric in ("accuracy", "masked_accuracy", *columns, *masked)):
                break
            accuracy = values["accuracy", step + 1]
            found.append(
                StepResult(
                    step=step,
                    accuracies=tuple(values[metric, step + 1].value for metric in columns),
                    seen=accuracy.value,
                    masked=values["masked_accuracy", step + 1].value,
                    masked_accuracies=tuple(values[metric, step + 1].value for metric in masked),
                    memory_size=accuracy.detail["memory_size"],
                    diverged=accuracy.detail.get(GUESSED, False),
                )
            )
        # `add_step` saves the state first and then the rows. If the process was killed in between, the newest state is
        # one step ahead of the rows. Then the state before the newest one is used.
        saved = self._checkpoint(cell).states() if found else iter(())
        state = next((each for each in saved if int(each["steps"]) == len(found)), None)
        return Earlier(steps=tuple(found), state=state)

    def add_step(self, result: StepResult, state: State, *, cell: Cell) -> None:
        """Store the learner's state after one step and the step's results.

        The results are the accuracies on the classes seen so far, this step's row of the accuracy matrix and of the
        task-masked accuracy matrix, and the predictions if they are stored.
        """
        if state:
            self._checkpoint(cell).save({**state, "steps": torch.tensor(result.step + 1)})
        values = {"accuracy": result.seen, "masked_accuracy": result.masked}
        values |= {_on(j): value for j, value in enumerate(result.accuracies)}
        values |= {_masked_on(j): value for j, value in enumerate(result.masked_accuracies)}
        detail = {
            **cell.steps.facts(),
            "memory_size": result.memory_size,
            **({GUESSED: True} if result.diverged else {}),
        }
        self._add(cell, result.step, values, detail)
        if self.tested is not None and result.predicted is not None:
            network = {"set_id": self.like.set_id, **self._same, "repeat": cell.repeat, "step": result.step + 1}
            row = self.tested.row(result.predicted, **network, run_id=self.like.run_id)
            self.store.add_predictions([row])

    def add_scores(self, result: IncrementalResult, *, cell: Cell) -> None:
        """Store the scores of the whole stream and the accuracies of the untrained network, as rows of the last step.

        The learner's saved state is removed, because the cell is now complete.
        """
        values = result.scores() | {_untrained(_on(j)): value for j, value in enumerate(result.untrained)}
        values |= {_untrained(_masked_on(j)): value for j, value in enumerate(result.masked_untrained)}
        guessed = {GUESSED: True} if result.judged[-1].diverged else {}
        order = cell.steps.facts() if cell.steps.domains is not None else {"class_order": list(result.order)}
        self._add(cell, self.like.steps - 1, values, {**order, **guessed})
        self._checkpoint(cell).remove()

    def _add(self, cell: Cell, step: int, values: Mapping[str, float], detail: Mapping[str, Any]) -> None:
        saw = [*self.detail.get(SAW_ALL, ()), *([on_all(cell.steps)] if cell.policy == GRID else [])]
        shared = {
            "policy": cell.policy,
            "training": cell.trained(),
            "order": cell.order,
            "network": cell.network,
            "parts": list(cell.parts),
            **({} if cell.choice is None else {CHOICE: cell.choice.facts()}),
            **self.detail,
            **detail,
            **({SAW_ALL: saw} if saw else {}),
        }
        self.store.add_results(
            [
                replace(
                    self.like,
                    repeat=cell.repeat,
                    step=step + 1,
                    metric=metric,
                    value=value,
                    seed=cell.seed.value,
                    step_size=cell.rates[step],
                    detail=shared,
                )
                for metric, value in values.items()
            ]
        )

    def _values(self, cell: Cell) -> dict[tuple[str, int], ResultRow]:
        """The stored rows of a cell, with (metric, step) as keys.

        Rows that were measured with another memory or another learning rate are left out.
        """
        return {
            (row.metric, row.step): row
            for row in self.there
            if row.repeat == cell.repeat
            and tuple(row.detail.get("parts", ())) == cell.parts
            and row.step_size == cell.rates[row.step - 1]
        }

    def _lacks_predictions(self, cell: Cell, values: Mapping[tuple[str, int], ResultRow]) -> bool:
        """Whether predictions must be stored, and a step of `values` has none.

        A step whose network diverged never has predictions, so it is not counted.
        """
        if not self.must_have_predictions:
            return False
        judged = {step for (metric, step), row in values.items() if metric == "accuracy" and GUESSED not in row.detail}
        return not judged <= {step for repeat, step in self._predicted if repeat == cell.repeat}

    @cached_property
    def _predicted(self) -> set[tuple[int, int]]:
        """The pairs (repeat, step) for which predictions are stored."""
        found = self.store.predictions(set=self.like.set_id, **self._same)
        return {(row.repeat, row.step) for row in found if row.protocol == self.like.protocol}

    def _checkpoint(self, cell: Cell) -> Checkpoint:
        like = self.like
        named = [like.set_id, like.protocol, like.architecture, like.memory, like.recipe_id, like.steps, cell.repeat]
        return state_of(self.store, {"stream": named})


def _on(step: int) -> str:
    """The metric name of the accuracy on the classes of step `step` (from 0): a column of the accuracy matrix."""
    return f"accuracy_on_step_{step + 1}"


def _masked_on(step: int) -> str:
    """The metric name of the same accuracy under the task mask: only the classes of that step can win."""
    return f"masked_{_on(step)}"


def _untrained(metric: str) -> str:
    """The metric name of accuracy `metric` before any training (b in the GEM paper), for forward transfer."""
    return f"{metric}_untrained"
