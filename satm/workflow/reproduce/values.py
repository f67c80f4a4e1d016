"""The stored values of a study's cells, read once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from registry import RunRecord, SetRecord
from satm.studies import Claim, Comparison, Condition, Study
from satm.studies.claims import Summary
from satm.workflow.grouped import BySeed, GroupRow
from satm.workflow.reproduce.laid import Laid
from satm.workflow.reproduce.stored import Stored, measured_of, results_of


@dataclass(frozen=True, kw_only=True)
class Values:
    """What the registry holds of the cells of one study."""

    study: Study
    stored: Stored
    laid: Sequence[Laid]
    _rows: dict[tuple[object, ...], GroupRow | None] = field(default_factory=dict)

    def cells(self, condition: Condition, arm: str) -> list[Laid]:
        """The blocks' cells of one arm under one condition: the same sets, maybe with more seeds."""
        return [each for each in self.laid if (each.cell.condition, each.cell.name) == (condition, arm)]

    def runs(self, condition: Condition, arm: str) -> dict[int, RunRecord]:
        """The newest run of each seed that has one."""
        found = {}
        for laid in self.cells(condition, arm):
            for seed in range(laid.cell.seeds) if laid.preset is not None else ():
                run = self.stored.run(laid.seeded(seed), seed)
                if run is not None:
                    found[seed] = run
        return found

    def records(self, condition: Condition, arm: str) -> dict[int, SetRecord]:
        """The finished sets by seed."""
        return {
            seed: self.stored.store.find(run.set_id)
            for seed, run in self.runs(condition, arm).items()
            if run.status == "done" and run.set_id
        }

    def row(self, condition: Condition, arm: str, evaluation: str, architecture: str, metric: str) -> GroupRow | None:
        """The results of one cell; None if there are none."""
        key = (condition, arm, evaluation, architecture, metric)
        if key not in self._rows:
            judged = self.study.evaluations[evaluation]
            records = self.records(condition, arm)
            self._rows[key] = results_of(self.stored.store, records, judged, architecture, metric)
        return self._rows[key]

    def measured(self, condition: Condition, arm: str, metric: str, summary: Summary) -> dict[int, float]:
        """A summary of what the runs of a cell measured, by seed."""
        return measured_of(self.stored.store, self.runs(condition, arm), metric, summary)

    def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: Summary) -> BySeed:
        """The values of one side of a comparison, by seed and network."""
        if claim.of_runs:
            return {s: {0: value} for s, value in self.measured(each.condition, arm, claim.metric, summary).items()}
        row = self.row(each.condition, arm, each.evaluation, each.architecture, claim.metric)
        return {} if row is None else row.values
