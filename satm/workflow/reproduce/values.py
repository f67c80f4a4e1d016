"""The stored values of a study's cells. Results are read from the registry only once."""

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
    """The hardware of a run as text: its host, its device and its threads. None if one of them is not known."""
    threads = run.config.get("threads")
    if run.host is None or threads is None:
        return None
    return f"{run.host}, {run.device}, {threads} thread{'' if threads == 1 else 's'}"


PLACES: Mapping[str, Callable[[RunRecord], str | None]] = {
    "run.outer_step_seconds": _host,
    "run.peak_bytes": lambda run: run.device,
}
"""The metrics that can be compared only between runs on the same hardware.

For each such metric there is a function that returns the name of a run's hardware, or None if it is not known.
"""


@dataclass(frozen=True, kw_only=True)
class Values:
    """Reads from the registry what is stored of the cells of one study."""

    study: Study
    made: MadeRuns  # finds the stored condensation runs
    laid: Sequence[Laid]  # the cells of the study with their presets
    # The number of networks that each evaluation trains, by the evaluation's name (`networks_by_name`). None: the
    # number of the recipe, or of the profile for a class-incremental evaluation.
    networks: Mapping[str, int | None]
    _rows: dict[tuple[object, ...], GroupRow | None] = field(default_factory=dict)  # the results that `row` has read

    def cells(self, condition: Condition, arm: str) -> list[Laid]:
        """The cells of one arm under one condition.

        Several blocks of the study file may list one arm. Their cells share sets and may differ in the number of seeds.
        """
        return [each for each in self.laid if (each.cell.condition, each.cell.name) == (condition, arm)]

    def runs(self, condition: Condition, arm: str) -> dict[int, RunRecord]:
        """The condensation run of each seed that has one, by seed. The run may be unfinished."""
        found = {}
        for laid in self.cells(condition, arm):
            for seed in range(laid.cell.seeds) if laid.preset is not None else ():
                run = self.made.run(laid.seeded(seed), seed)
                if run is not None:
                    found[seed] = run
        return found

    def records(self, condition: Condition, arm: str) -> dict[int, SetRecord]:
        """The stored sets, by seed."""
        return {
            seed: self.made.store.find(run.set_id)
            for seed, run in self.runs(condition, arm).items()
            if run.status == "done" and run.set_id
        }

    def row(self, condition: Condition, arm: str, evaluation: str, architecture: str, metric: str) -> GroupRow | None:
        """The values of one metric of one arm under one condition and evaluation; None if there are none."""
        key = (condition, arm, evaluation, architecture, metric)
        if key not in self._rows:
            judged = self.study.evaluations[evaluation]
            records = self.records(condition, arm)
            self._rows[key] = results_of(self.made.store, records, judged, architecture, metric)
        return self._rows[key]

    def measured(self, condition: Condition, arm: str, metric: str, summary: Summary) -> dict[int, float]:
        """For each finished run of an arm, by seed, the `summary` of the values of `metric` over its outer steps."""
        return measured_of(self.made.store, self.runs(condition, arm), metric, summary)

    def is_judged(self, laid: Laid, run: RunRecord) -> bool:
        """Whether every evaluation of the cell is complete for the set of this finished run."""
        record = self.made.store.find(run.set_id or "")
        return all(
            is_judged(self.made.store, record, self.study.evaluations[name], self.networks[name])
            for name in laid.cell.evaluations
        )

    def planned(self, each: Comparison) -> int:
        """The number of condensations that the study plans for both arms of a comparison: the smaller of the two."""
        return min(
            max((laid.cell.seeds for laid in self.cells(each.condition, arm)), default=0)
            for arm in (each.first, each.second)
        )

    def places(self, claim: Claim, each: Comparison, arm: str) -> dict[int, str | None] | None:
        """The hardware on which the runs of one arm of a comparison were measured, by seed.

        An entry is None if the hardware of its run is not known. The result is None if the metric does not depend on
        the hardware.
        """
        if claim.metric not in PLACES:
            return None
        return {seed: PLACES[claim.metric](run) for seed, run in self.runs(each.condition, arm).items()}

    def of_claim(self, claim: Claim, each: Comparison, arm: str, summary: Summary) -> BySeed:
        """The values of one arm of a comparison, by seed and network.

        A metric of the runs has one value for each seed; it is stored as network 0.
        """
        if claim.of_runs:
            return {s: {0: value} for s, value in self.measured(each.condition, arm, claim.metric, summary).items()}
        row = self.row(each.condition, arm, each.evaluation, each.architecture, claim.metric)
        return {} if row is None else row.values
