"""Reads the results of a study from the registry: which sets are completely judged, and their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pvariance
from typing import Any

from evaluation import RatePolicy
from registry import Group, Registry, RunRecord, SetRecord
from registry.results import recipe_id
from satm.errors import SatmError
from satm.presets import class_incremental_repeats
from satm.studies import Evaluation
from satm.studies.claims import RUN, Summary
from satm.workflow.condense.made import is_finished
from satm.workflow.evaluate.rows import NetworkRows
from satm.workflow.evaluate.subject import Entrant, Judging, find_entrant
from satm.workflow.grouped import GroupRow, group_rows
from satm.workflow.incremental.naming import protocol_name, repeat_of

FIFTH = 5  # summaries "early" and "late" use the first and the last fifth of the outer steps of a run
# The rate policy of an evaluation for the `rate` of a study file. None: the policy of the recipe.
POLICY: Mapping[str, RatePolicy | None] = {"own": None, "learned": "learned", "grid": "grid"}


def judging_of(evaluation: Evaluation) -> Judging:
    """The recipe, the learning rate and the labels with which `evaluation` judges sets."""
    return Judging(recipe=evaluation.recipe, learning_rate=POLICY[evaluation.rate], labels=evaluation.labels)


def stream_size(evaluation: Evaluation, profile: str) -> tuple[int, int]:
    """The number of class orders of a stream, and the number of networks for each class order."""
    orders, networks = class_incremental_repeats(profile)
    return evaluation.orders or orders, evaluation.networks or networks


def is_judged(store: Registry, record: SetRecord, evaluation: Evaluation, networks: int | None) -> bool:
    """Whether the results of every network of this evaluation of this set are stored.

    `networks` is the number of networks; None: the recipe's number. A class-incremental evaluation does not use it (see
    `stream_size`). The result is False also for a set that cannot be judged. The task that tries to judge the set then
    reports the reason.
    """
    try:
        entrant = find_entrant(store, record.id, judging_of(evaluation))
        names = tuple(entrant.canonical(name) for name in evaluation.architectures) or (entrant.own,)
    except SatmError:
        return False
    if evaluation.incremental:
        return _streams_wanted(evaluation, entrant) <= _streams_stored(store, record, evaluation, entrant)
    rows = _network_rows(store, entrant, names)
    repeats = networks or entrant.recipe.repeats
    return {(name, repeat) for name in names for repeat in range(repeats)} <= rows.complete()


def _streams_wanted(evaluation: Evaluation, entrant: Entrant) -> set[int]:
    """The repeat numbers (`repeat_of`) of all networks on all class orders of the evaluation."""
    orders, networks = stream_size(evaluation, entrant.profile)
    return {repeat_of(order, network) for order in range(orders) for network in range(networks)}


def _streams_stored(store: Registry, record: SetRecord, evaluation: Evaluation, entrant: Entrant) -> set[int]:
    """The repeat numbers of the stored streams of the evaluation that have reached their last step."""
    last: dict[str, Any] = {"metric": "final_accuracy", "steps": evaluation.steps, "architecture": entrant.own}
    cells = [row.cell for row in group_rows(store, _alone(record), **last) if _fits_stream(row, evaluation, entrant)]
    # If several cells fit, only the last one is used, because the page of the study shows that one (`results_of`).
    fitting = {(cell.protocol, cell.memory, cell.recipe_id) for cell in cells[-1:]}
    rows = store.results(set=record.id, **last)
    return {row.repeat for row in rows if (row.protocol, row.memory, row.recipe_id) in fitting}


def _network_rows(store: Registry, entrant: Entrant, names: Sequence[str]) -> NetworkRows:
    recipe = entrant.recipe_of("condensed")
    return NetworkRows.read(store, entrant, "condensed", names, recipe_id(recipe.name, recipe.to_dict()))


def _alone(*records: SetRecord) -> Group:
    return Group(name=records[0].name, sets=records, experts="own")


def results_of(
    store: Registry, records: Mapping[int, SetRecord], evaluation: Evaluation, architecture: str, metric: str
) -> GroupRow | None:
    """The stored values of these sets under the evaluation; None if there are none.

    `records` has the sets by condensation seed. Architecture "" is the one that the sets were made with. Sets that were
    made from other real images than the newest set are left out.
    """
    if not records:
        return None
    newest = max(records.values(), key=lambda each: each.created)
    same = {seed: each for seed, each in records.items() if _data(each) == _data(newest)}
    try:
        entrant = find_entrant(store, newest.id, judging_of(evaluation))
        name = entrant.canonical(architecture) if architecture else entrant.own
    except SatmError:  # the set cannot be judged, so there are no results
        return None
    group = _alone(*(same[seed] for seed in sorted(same)))
    if evaluation.incremental:
        rows = list(group_rows(store, group, metric=metric, architecture=name, steps=evaluation.steps))
        return next((row for row in reversed(rows) if _fits_stream(row, evaluation, entrant)), None)
    recipe = entrant.recipe_of("condensed")
    under = recipe_id(recipe.name, recipe.to_dict())
    rows = list(
        group_rows(store, group, metric=metric, architecture=name, protocol=entrant.protocol(name), recipe_id=under)
    )
    return next((row for row in rows if row.cell.memory == "condensed"), None)


def _fits_stream(row: GroupRow, evaluation: Evaluation, entrant: Entrant) -> bool:
    cell, policy, labels = row.cell, entrant.policy, entrant.recipe.labels
    named = row.recipe.partition(",")[0] == entrant.recipe.name.partition(",")[0]
    # The name of a recipe says which teacher labels the images; see `Recipe.labelled`.
    labelled = ", teacher " not in row.recipe if labels is None else f", {labels.spell()}" in f"{row.recipe}, "
    return (
        cell.protocol == protocol_name(evaluation.protocol)
        and cell.memory == "condensed"
        and cell.policy == (policy if isinstance(policy, str) else "fixed")
        and cell.step == cell.steps
        and named
        and labelled
    )


def _data(record: SetRecord) -> list[str]:
    return sorted(parent for parent in record.parents if parent.startswith("data:"))


def measured_of(store: Registry, runs: Mapping[int, RunRecord], metric: str, summary: Summary) -> dict[int, float]:
    """For each finished run, by seed, the `summary` of the values of `metric` over the run's outer steps."""
    found = {}
    for seed, run in runs.items():
        values = [row.value for row in store.metrics(run.id, metric.removeprefix(RUN))]
        if values and is_finished(run):
            found[seed] = summed_up(values, summary)
    return found


def summed_up(values: Sequence[float], summary: Summary) -> float:
    """One number for all `values`, which are in the order of the outer steps.

    It is the mean, the variance, the last value, the mean of the first fifth ("early") or of the last fifth ("late").
    """
    part = max(1, len(values) // FIFTH)
    match summary:
        case "mean":
            return fmean(values)
        case "variance":
            return pvariance(values)
        case "last":
            return values[-1]
        case "early":
            return fmean(values[:part])
        case "late":
            return fmean(values[-part:])
