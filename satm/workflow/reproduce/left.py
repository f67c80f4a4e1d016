"""The work that is left of the chosen studies: tasks by stage, and the reasons why some tasks cannot be done here.

A task is one condensation with the evaluations of its set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satm.studies import Evaluation, Study
from satm.workflow.condense.made import MadeRuns, set_key
from satm.workflow.reproduce.asked import Asked, Layout
from satm.workflow.reproduce.only import seeds_of
from satm.workflow.reproduce.task import CellTask


@dataclass(frozen=True, kw_only=True)
class Left:
    """The work that is left of the studies."""

    # The tasks that can be done on this machine, by stage. A stage begins when all tasks of the earlier stages ended.
    stages: dict[int, list[CellTask]]
    unreached: tuple[str, ...]  # one line for each reason why tasks cannot be done on this machine


def left_of(found: Sequence[Layout], asked: Asked, made: MadeRuns | None) -> Left:
    """Find the tasks whose set or evaluations are not all stored yet.

    Tasks that cannot be done on this machine are replaced by lines with the reasons.
    """
    reasons: dict[str, list[str]] = {}
    for layout in found:
        for laid in layout.asked:
            if laid.preset is None:
                reasons.setdefault(laid.obstacle, []).append(f"{layout.study.name}: {laid.cell}")
    stages: dict[int, list[CellTask]] = {}
    for stage, tasks in tasks_of(found, asked).items():
        for task in tasks:
            reason = task.left(made)
            if reason:
                reasons.setdefault(reason, []).append(task.name)
            elif reason is not None:
                stages.setdefault(stage, []).append(task)
    lines = (
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in reasons.items()
    )
    return Left(stages=stages, unreached=tuple(lines))


def tasks_of(found: Sequence[Layout], asked: Asked) -> dict[int, list[CellTask]]:
    """All tasks of the studies, by stage.

    In a stage the tasks are sorted by condensation seed: first seed 0 of all cells, then seed 1. Cells that make the
    same set, in one study or in several, become one task with the evaluations of all these cells.
    """
    stages: dict[int, dict[str, CellTask]] = {}
    cells = [(each, laid, seed) for each in found for laid in each.asked for seed in seeds_of(laid.cell, each.only)]
    for layout, laid, seed in sorted(cells, key=lambda each: (each[1].cell.stage, each[2])):
        if laid.preset is None:
            continue
        study, preset = layout.study, laid.seeded(seed)
        key = set_key(preset, seed)
        names = laid.cell.evaluations
        evaluations: list[tuple[Evaluation, int | None]] = [
            (study.evaluations[name], networks_of(study, name, asked)) for name in names
        ]
        stage = stages.setdefault(laid.cell.stage, {})
        before = stage[key].evaluations if key in stage else ()
        studies = stage[key].studies if key in stage else ()
        stage[key] = CellTask(
            name=stage[key].name if key in stage else f"{study.name}: {laid.cell}, seed {seed}",
            preset=preset,
            seed=seed,
            evaluations=(*before, *(each for each in evaluations if each not in before)),
            studies=studies if study.name in studies else (*studies, study.name),
            obstacle=laid.obstacle,
            too_large=laid.too_large,
        )
    return {stage: list(tasks.values()) for stage, tasks in sorted(stages.items())}


def networks_of(study: Study, evaluation: str, asked: Asked) -> int | None:
    """The number of networks that an evaluation of the study trains.

    It is the number for each condensation, or for each class order of a class-incremental evaluation. The user's number
    (`asked.networks`) is not used for a class-incremental evaluation. None stands for the number of the recipe, or of
    the profile for a class-incremental evaluation.
    """
    if study.evaluations[evaluation].incremental:
        return study.networks_of(evaluation)
    return asked.networks or study.networks_of(evaluation)


def networks_by_name(study: Study, asked: Asked) -> dict[str, int | None]:
    """The result of `networks_of` for every evaluation of the study; the keys are the names of the evaluations."""
    return {name: networks_of(study, name, asked) for name in study.evaluations}
