"""The stored values of a study's cells; results are read once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from registry import RunRecord, SetRecord
from satm.studies import Claim, Comparison, Condition, Study
from satm.studies.claims import Summary
from satm.workflow.condense.made import MadeRuns
from satm.workflow.grouped import BySeed, GroupRow
from satm.workflow.reproduce.laid import Laid
from satm.workflow.reproduce.stored import is_judged, measured_of, results_of


def _host(run: RunRecord) -> str | None:
    """Host, device and threads of a run; None if one of them is not known."""
    threads = run.config.get("threads")
    if run.host is None or threads is None:
        return None
    return f"{run.host}, {run.device}, {threads} thread{'' if threads == 1 else 's'}"


PLACES: Mapping[str, Callable[[RunRecord], str | None]] = {
    "run.outer_step_seconds": _host,
    "run.peak_bytes": lambda run: run.device,
}
"""Metrics that can be compared only if both runs had the same hardware: the function names a run's hardware.

It gives None if the hardware is not known.
"""


@dataclass(frozen=True, kw_only=True)
class Values:
    """What the registry holds of the cells of one study."""

    study: Study
    made: MadeRuns
    laid: Sequence[Laid]
    networks: Mapping[str, int | None]  # that each evaluation trains, by its name; None: as many as the recipe says
    _rows: dict[tuple[object, ...], GroupRow | None] = field(default_factory=dict)

    def cells(self, condition: Condition, arm: str) -> list[Laid]:
        """The cells of one arm under one condition.

        Several blocks of the study file may list one arm. Their cells share sets and may differ in the number of seeds.
        """
        return [each for each in self.laid if (each.cell.condition, each.cell.name) == (condition, arm)]

    def runs(self, condition: Condition, arm: str) -> dict[int, RunRecord]:
        """The newest run of each seed that has one."""
        found = {}
        for laid in self.cells(condition, arm):
            for seed in range(laid.cell.seeds) if laid.preset is not None else ():
                run = self.made.run(laid.seeded(seed), seed)
                if run is not None:
                    found[seed] = run
        return found

    def records(self, condition: Condition, arm: str) -> dict[int, SetRecord]:
        """The finished sets by seed."""
        return {
            seed: self.made.store.find(run.set_id)
            for seed, run in self.runs(condition, arm).items()
            if run.status == "done" and run.set_id
        }

    def row(self, condition: Condition, arm: str, evaluation: str, architecture: str, metric: str) -> GroupRow | None:
        """The results of one cell; None if there are none."""
        key = (condition, arm, evaluation, architecture, metric)
        if key not in self._rows:
            judged = self.study.evaluations[evaluation]
            records = self.records(condition, arm)
            self._rows[key] = results_of(self.made.store, records, judged, architecture, metric)
        return self._rows[key]

    def measured(self, condition: Condition, arm: str, metric: str, summary: Summary) -> dict[int, float]:
        """A summary of what the runs of a cell measured, by seed."""
        return measured_of(self.made.store, self.runs(condition, arm), metric, summary)

    def is_judged(self, laid: Laid, run: RunRecord) -> bool:
        """Whether the set of a finished run is judged to the end by every evaluation of its cell."""
        record = self.made.store.find(run.set_id or "")
        return all(
            is_judged(self.made.store, record, self.study.evaluations[name], self.networks[name])
            for name in laid.cell.evaluations
        )

    def planned(self, each: Comparison) -> int:
        """Condensations that both arms of a comparison are to have."""
        return min(
            max((laid.cell.seeds for laid in self.cells(each.condition, arm)), default=0)
            for arm in (each.first, each.second)
        )

    def places(self, claim: Claim, each: Comparison, arm: str) -> dict[int, str | None] | None:
        """On which hardware each run of one side of a comparison was measured, by seed.

        None if the metric does not depend on it.

        A run's hardware is None if it is not known.
        """
        if claim.metric not in PLACES:
            return None
        return {seed: PLACES[claim.metric](run) for seed, run in self.runs(each.condition, arm).items()}

    def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: Summary) -> BySeed:
        """The values of one side of a comparison, by seed and network."""
        if claim.of_runs:
            return {s: {0: value} for s, value in self.measured(each.condition, arm, claim.metric, summary).items()}
        row = self.row(each.condition, arm, each.evaluation, each.architecture, claim.metric)
        return {} if row is None else row.values
