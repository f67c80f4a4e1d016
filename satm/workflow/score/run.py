"""Computes the scores of stored sets: DD-Ranking's two scores, corruptions, coverage and diversity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation import RatePolicy, Trainer
from registry import Group
from satm.errors import ConfigError, UnknownName
from satm.machine.fused import Compilation
from satm.progress import SILENT, Progress
from satm.workflow.evaluate.in_domain import recorded, trainer_of
from satm.workflow.evaluate.subject import Judging, MemoryKind, Subject, find_entrant, open_subject
from satm.workflow.score.corrupted import check_corruptions, score_corruptions
from satm.workflow.score.features import check_features, score_coverage, score_diversity
from satm.workflow.score.ranking import check_augmentation, check_labels, score_augmentation, score_labels
from satm.workflow.score.scored import Scored
from satm.workflow.workspace import Workspace, opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A kind of score that can be computed for a set."""

    protocol: str  # the protocol under which its results are stored
    work: str  # a few words for the user about the work that the score needs
    store: Callable[[Scored], None]  # computes the score and stores its rows
    check: Callable[[Scored], None] = lambda scored: None  # raises an error if the score cannot be computed


SCORES: Mapping[str, Score] = {
    "lrs": Score(
        protocol="dd-ranking/lrs",
        work="trains on the set, on its images with hard labels, on random images and on all real images",
        store=score_labels,
        check=check_labels,
    ),
    "ars": Score(
        protocol="dd-ranking/ars",
        work="trains on the set and on random images, with and without augmentation",
        store=score_augmentation,
        check=check_augmentation,
    ),
    "corruptions": Score(
        protocol="corruptions",
        work="trains on the set and tests on damaged images",
        store=score_corruptions,
        check=check_corruptions,
    ),
    "coverage": Score(
        protocol="coverage", work="compares features, trains nothing", store=score_coverage, check=check_features
    ),
    "diversity": Score(
        protocol="diversity", work="compares features, trains nothing", store=score_diversity, check=check_features
    ),
}


def score(
    reference: str = "latest",
    scores: Sequence[str] = ("coverage", "diversity"),
    *,
    baseline: Literal["random"] | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: RatePolicy | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Group:
    """Compute scores of stored sets and store them as results; `group_results` reads them. Returns the scored group.

    Scores are fractions. `corruptions` stores every metric in its own unit.

    The networks are trained in the same way as by `evaluate`. Networks whose results are stored are not trained again.
    `corruptions` is an exception: it must train them again, because it tests the networks themselves.

    Args:
        reference: the name of a set or of a group; every set of a group is scored.
        scores: names of `SCORES`. `lrs` and `ars` are DD-Ranking's label-robust and augmentation-robust score.
            `corruptions` tests networks on corrupted images. `coverage` and `diversity` compare features that an expert
            computes (`satm.workflow.score.features`).
        baseline: "random": `corruptions` also tests networks that are trained on random real images. The other scores
            always include random real images.
        recipe, repeats, learning_rate: how the networks are trained, as for `evaluate`.
        dry_run: check the request, and compute nothing.

    Raises UnknownName or ConfigError for a wrong request. Raises ExpertError if `coverage` or `diversity` need an
    expert that is missing; the message has the command that trains it. The request for a set is checked before anything
    is trained for this set. Raises Interrupted if the user stops the work.
    """
    wanted = {name: _found(name) for name in scores}
    if not wanted:
        raise ConfigError(f"no score is named; name one or more of {', '.join(SCORES)}")
    judging = Judging(recipe=recipe, learning_rate=learning_rate)
    with opened(registry, device=device, data_root=data_root, progress=progress, read_only=dry_run) as workspace:
        group = workspace.store.group(reference)
        trainer = trainer_of(workspace, compilation)
        for record in group.sets:
            entrant = find_entrant(workspace.store, record.id, judging)
            count = entrant.recipe.repeats if repeats is None else repeats
            # Random images do not depend on the condensation seed, so they are tested for one set of the group only.
            beside = baseline if record is group.sets[0] else None
            for name, each in wanted.items():
                progress.say(f"{record.name} ({entrant.profile}): {name}, {each.work}")
            subject = open_subject(workspace, record.id, judging)
            scored = _scored(workspace, subject, trainer, count, beside)
            for each in wanted.values():
                each.check(scored)
            for name, each in wanted.items() if not dry_run else ():
                _store(scored, name, each)
    return group


def _found(name: str) -> Score:
    if name not in SCORES:
        raise UnknownName("score", name, SCORES)
    return SCORES[name]


def _scored(
    workspace: Workspace, subject: Subject, trainer: Trainer, repeats: int, beside: MemoryKind | None
) -> Scored:
    subject.canonical(subject.config.architecture)  # raises if the network cannot be trained on the set
    subject.check_learning_rate("condensed")
    memories: tuple[MemoryKind, ...] = ("condensed",) if beside is None else ("condensed", beside)
    return Scored(workspace=workspace, subject=subject, trainer=trainer, repeats=repeats, memories=memories)


def _store(scored: Scored, name: str, wanted: Score) -> None:
    facts = {"score": name, "recipe": scored.subject.recipe.to_dict(), "repeats": scored.repeats}
    device = str(scored.workspace.device)
    with recorded(scored.workspace.store, scored.subject, "score", facts, device) as run:
        wanted.store(scored.of_run(run, wanted.protocol))
