"""The label-robust and the augmentation-robust score of DD-Ranking (`evaluation.dd_ranking` has the formulas).

The scores are computed from accuracies of networks. All these networks except the one that is trained on all real
images are trained and tested by ordinary evaluations, and their results are stored as such.
"""

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
RAW = "accuracy"  # the end of metric names for the accuracies in a score: `syn_any_accuracy` for `syn_any`


def check_labels(scored: Scored) -> None:
    """Raise ConfigError if a learning rate must be chosen on validation images, but no images are held out."""
    with_hard_labels(scored.subject).check_learning_rate("condensed")
    scored.subject.check_learning_rate("random")


def score_labels(scored: Scored) -> None:
    """Store the label-robust score of each repeat, its two terms and its four accuracies.

    A score combines the networks of the same repeat. Only one network is trained on all real images, and its accuracy
    is used in every repeat.
    """
    subject, hard = scored.subject, with_hard_labels(scored.subject)
    # `meant`: accuracies on the set with the labels that its method intends. `plain`: on the set with hard labels.
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
    """Raise ConfigError if the recipe has no augmentation, or if no learning rate can be chosen."""
    scored.subject.check_learning_rate("random")
    recipe = scored.subject.recipe
    if recipe.augment is None and recipe.cutmix is None:
        raise ConfigError(
            f"score ars compares training with and without augmentation, and recipe {recipe.name} has none; name "
            "another with --recipe"
        )


def score_augmentation(scored: Scored) -> None:
    """Store the augmentation-robust score of each repeat and its four accuracies."""
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
    """The set with hard labels: the label of each image is its class, and no teacher labels the batches.

    A set that already is like this is returned unchanged. If soft labels are replaced, the step size that was learned
    with them does not fit the hard labels. The learning rate is then chosen from the grid, because DD-Ranking also
    searches it. Only a learning rate that is given as a number is kept.
    """
    synthetic = subject.synthetic
    recipe = subject.recipe.labelled(None)
    if synthetic.label_kind == "hard":
        return subject if recipe is subject.recipe else replace(subject, recipe=recipe)
    labelled = replace(synthetic, labels=synthetic.hard_labels, label_kind="hard", step_size=None)
    rated = recipe.variant(learning_rate="grid") if isinstance(subject.policy, str) else recipe
    return replace(subject, synthetic=labelled, recipe=rated, hardened=True)


def _accuracies(scored: Scored, subject: Subject, memories: Sequence[MemoryKind]) -> dict[MemoryKind, dict[int, float]]:
    """For each memory, the accuracy of the network of each repeat. Networks that are not stored are trained.

    The accuracy of a network that diverged is taken as chance, 1/K for K classes.
    """
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
    """The test accuracy of a network that is trained on all real training images.

    It has the architecture that the set was made with. It is trained with the settings of the teacher that belongs to
    the scale of the recipe (`TEACHERS`).
    """
    subject = scored.subject
    own = replace(TEACHERS[subject.recipe.scale], architecture=subject.own)
    config = resolved(own, subject.own, subject.config.dataset)
    network = train_teacher(
        subject.data, config, device=scored.workspace.device, progress=scored.workspace.progress
    ).network
    return accuracy(network, subject.data.test)


def _store(scored: Scored, values: Sequence[Mapping[str, float]], recipes: Mapping[str, str]) -> None:
    """Store `values`, which has one dictionary for each repeat: the value of each metric by its name.

    `recipes` has the names of the recipes that the score compares; they are stored with every row.
    """
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
