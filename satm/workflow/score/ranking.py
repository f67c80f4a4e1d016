"""DD-Ranking's label- and augmentation-robust scores, from networks that are stored as ordinary results too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.dd_ranking import WEIGHT, AugmentationAccuracies, LabelAccuracies
from satm.errors import ConfigError
from satm.teachers import TEACHERS, train_teacher
from satm.training import accuracy
from satm.workflow.evaluate.in_domain import Wanted, train_missing
from satm.workflow.evaluate.rows import NetworkRows
from satm.workflow.evaluate.subject import MemoryKind, Subject
from satm.workflow.score.scored import Scored
from satm.workflow.teachers import resolved

BOTH: tuple[MemoryKind, MemoryKind] = ("condensed", "random")
RAW = "accuracy"  # `syn_any` is stored as the metric `syn_any_accuracy`


def check_labels(scored: Scored) -> None:
    """Raise ConfigError if a learning rate would be chosen on validation images, and none are held out."""
    with_hard_labels(scored.subject).check_learning_rate("condensed")
    scored.subject.check_learning_rate("random")


def score_labels(scored: Scored) -> None:
    """Store the label-robust score of each network, its two terms and its four accuracies.

    Networks of the same repeat belong together. All real images have one network, which every repeat shares.
    """
    subject, hard = scored.subject, with_hard_labels(scored.subject)
    meant = _accuracies(scored, subject, BOTH)
    plain = meant["condensed"] if hard is subject else _accuracies(scored, hard, BOTH[:1])["condensed"]
    real = _real_accuracy(scored)
    values = []
    for repeat in range(scored.repeats):
        found = LabelAccuracies(
            real_hard=real,
            syn_hard=plain[repeat],
            syn_any=meant["condensed"][repeat],
            random_any=meant["random"][repeat],
        )
        values.append(
            {
                "label_robust_score": found.score(),
                "hard_label_recovery": found.hard_label_recovery,
                "improvement_over_random": found.improvement_over_random,
                f"real_hard_{RAW}": found.real_hard,
                f"syn_hard_{RAW}": found.syn_hard,
                f"syn_any_{RAW}": found.syn_any,
                f"random_any_{RAW}": found.random_any,
            }
        )
    _store(scored, values, recipes={"any": subject.recipe.name, "hard": hard.recipe.name})


def check_augmentation(scored: Scored) -> None:
    """Raise ConfigError for a recipe without augmentation, or a learning rate that cannot be chosen."""
    scored.subject.check_learning_rate("random")
    recipe = scored.subject.recipe
    if recipe.augment is None and recipe.cutmix is None:
        raise ConfigError(
            f"score ars compares training with and without augmentation, and recipe {recipe.name} has none; name "
            "another with --recipe"
        )


def score_augmentation(scored: Scored) -> None:
    """Store the augmentation-robust score of each network and its four accuracies."""
    subject = scored.subject
    recipe = subject.recipe
    bare = replace(recipe, name=f"{recipe.name}, no augmentation", augment=None, cutmix=None)
    augmented = _accuracies(scored, subject, BOTH)
    plain = _accuracies(scored, replace(subject, recipe=bare), BOTH)
    values = []
    for repeat in range(scored.repeats):
        found = AugmentationAccuracies(
            syn_aug=augmented["condensed"][repeat],
            random_aug=augmented["random"][repeat],
            syn_plain=plain["condensed"][repeat],
            random_plain=plain["random"][repeat],
        )
        values.append(
            {
                "augmentation_robust_score": found.score(),
                f"syn_aug_{RAW}": found.syn_aug,
                f"random_aug_{RAW}": found.random_aug,
                f"syn_plain_{RAW}": found.syn_plain,
                f"random_plain_{RAW}": found.random_plain,
            }
        )
    _store(scored, values, recipes={"augmented": recipe.name, "plain": bare.name})


def with_hard_labels(subject: Subject) -> Subject:
    """The set with the class of each image as its label, and no teacher; itself if that is how it is.

    A step size that was learned with soft labels is not that of hard ones, so the rate is chosen from the grid, as
    DD-Ranking searches it, unless the user gave a number.
    """
    synthetic = subject.synthetic
    recipe = subject.recipe.labelled(None)
    if synthetic.label_kind == "hard":
        return subject if recipe is subject.recipe else replace(subject, recipe=recipe)
    labelled = replace(synthetic, labels=synthetic.hard_labels, label_kind="hard", step_size=None)
    rated = recipe.variant(learning_rate="grid") if isinstance(subject.policy, str) else recipe
    return replace(subject, synthetic=labelled, recipe=rated, hardened=True)


def _accuracies(scored: Scored, subject: Subject, memories: Sequence[MemoryKind]) -> dict[MemoryKind, dict[int, float]]:
    """The accuracy of each repeat on each memory, trained if it is not stored. One that diverged counts as chance."""
    wanted = Wanted(architectures=(subject.own,), memories=tuple(memories), repeats=scored.repeats, kind="eval")
    train_missing(scored.workspace, subject, wanted, scored.trainer)
    found = {}
    for memory in memories:
        recipe = subject.recipe_of(memory)
        recipe_id = scored.workspace.store.add_recipe(recipe.name, recipe.to_dict())
        rows = NetworkRows.read(scored.workspace.store, subject, memory, wanted.architectures, recipe_id)
        values = {row.repeat: 1 / subject.data.num_classes for row in rows.diverged(scored.repeats)}
        found[memory] = values | {row.repeat: row.value for row in rows.accuracies(scored.repeats)}
    return found


def _real_accuracy(scored: Scored) -> float:
    """The test accuracy of the set's own architecture on all real training images, trained as a teacher is."""
    subject = scored.subject
    own = replace(TEACHERS[subject.recipe.scale], architecture=subject.own)
    config = resolved(own, subject.own, subject.config.dataset)
    network = train_teacher(
        subject.data, config, device=scored.workspace.device, progress=scored.workspace.progress
    ).network
    return accuracy(network, subject.data.test)


def _store(scored: Scored, values: Sequence[Mapping[str, float]], recipes: Mapping[str, str]) -> None:
    """Store the values of each repeat, by metric. `recipes`: the names of those that are compared."""
    subject = scored.subject
    recipe = subject.recipe_of("condensed")
    recipe_id = scored.workspace.store.add_recipe(recipe.name, recipe.to_dict())
    fixed = not isinstance(subject.policy, str)
    learned = subject.synthetic.step_size if subject.policy == "learned" else 0.0
    rate = subject.policy if fixed else learned
    detail = {"weight": WEIGHT, "recipes": dict(recipes), "policy": "fixed" if fixed else subject.policy}
    scored.workspace.store.add_results(
        [
            scored.row(metric, value, repeat=repeat, recipe_id=recipe_id, detail=detail, rate=float(rate or 0.0))
            for repeat, by_metric in enumerate(values)
            for metric, value in by_metric.items()
        ]
    )
