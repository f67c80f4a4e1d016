"""The score `corruptions`: accuracy and calibration on corrupted test images.

The metrics are those of an ordinary evaluation. The results are stored with the severity of the corruption as the step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

from torch import nn

import evaluation
from evaluation import DIVERGED, METRICS, Earlier, EvaluationResult
from evaluation.corruptions import CORRUPTIONS, SEVERITIES, check_size
from evaluation.cross_arch import value_of
from registry import ResultRow
from satm.errors import Interrupted
from satm.training import predictions
from satm.workflow.evaluate.in_domain import tested_images
from satm.workflow.evaluate.rows import NetworkRows, Tested
from satm.workflow.evaluate.subject import ROOT, MemoryKind
from satm.workflow.score.scored import Scored
from satm.workflow.teachers import label_facts


def check_corruptions(scored: Scored) -> None:
    """Raise ConfigError if the images are too small to corrupt, or if no learning rate can be chosen."""
    check_size(scored.subject.data.image_shape)
    for memory in scored.memories:
        scored.subject.check_learning_rate(memory)


def score_corruptions(scored: Scored) -> None:
    """Store every metric on each corruption at each severity, and the mean of each metric over all of them.

    A row of one corruption has the protocol `corruptions/NAME` and the severity as its step. A row of the mean has the
    protocol `corruptions`. The networks are trained in the same way as by `evaluate`, and their results on the
    original test images are stored too.
    """
    store, subject = scored.workspace.store, scored.subject
    teacher, facts = subject.trained_teacher(scored.workspace), label_facts(subject.data, subject.recipe.labels)
    for memory in scored.memories:
        recipe = subject.recipe_of(memory)
        recipe_id = store.add_recipe(recipe.name, recipe.to_dict())
        plain = NetworkRows.read(store, subject, memory, (subject.own,), recipe_id)
        evaluation.evaluate(
            subject.draws(memory),
            subject.data,
            (subject.own,),
            recipe,
            seed=ROOT,
            repeats=scored.repeats,
            trainer=scored.trainer,
            teacher=teacher,
            earlier=Earlier(trained=_done(scored, memory, recipe_id), learning_rates=plain.learning_rates()),
            on_result=partial(
                _keep,
                scored,
                plain,
                labels=facts,
                test=tested_images(subject, None),
            ),
            on_network=partial(_test, scored, plain, facts),
        )


def _done(scored: Scored, memory: MemoryKind, recipe_id: str) -> set[tuple[str, int]]:
    """The networks that need no more work, as pairs (architecture, repeat).

    For these networks the mean of every metric is stored, or it is stored that they diverged.
    """
    subject = scored.subject
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in scored.workspace.store.results(
        set=subject.record.id, memory=subject.stored_memory(memory), recipe_id=recipe_id, protocol=scored.protocol
    ):
        if row.protocol == scored.protocol:
            found[(row.architecture, row.repeat)].add(row.metric)
    return {network for network, metrics in found.items() if set(METRICS) <= metrics or DIVERGED in metrics}


def _keep(
    scored: Scored, plain: NetworkRows, result: EvaluationResult, *, labels: Mapping[str, Any], test: Tested | None
) -> None:
    """Store the result of one network on the original test images.

    If the network diverged, this is also stored under the protocol `corruptions`. There, as in every evaluation, its
    accuracy is taken as chance, 1/K for K classes.
    """
    plain.add(result, scored.run, labels, scored.workspace.progress, test)
    if DIVERGED in result.metrics:
        row = plain.row(result, DIVERGED, result.metrics[DIVERGED], scored.run, labels)
        scored.workspace.store.add_results([replace(row, protocol=scored.protocol)])


def _test(
    scored: Scored, plain: NetworkRows, labels: Mapping[str, Any], result: EvaluationResult, network: nn.Module
) -> None:
    """Test one network on the test images under every corruption and severity, and store the rows."""
    test, progress = scored.subject.data.test, scored.workspace.progress
    rows: list[ResultRow] = []
    with progress.bar(f"corruptions of repeat {result.repeat}", len(CORRUPTIONS) * len(SEVERITIES)) as bar:
        for name, corruption in CORRUPTIONS.items():
            for severity in SEVERITIES:
                if progress.stopping():
                    raise Interrupted(
                        "stopped; the networks tested so far are kept, the same command continues with the next one"
                    )
                damaged = replace(test, images=corruption(test.images, severity, ROOT))
                logits, targets = predictions(network, damaged)
                for metric in METRICS:
                    value = value_of(METRICS.get(metric), logits, targets)
                    row = plain.row(result, metric, value, scored.run, labels)
                    rows.append(
                        replace(row, protocol=f"{scored.protocol}/{name}", step=severity, steps=len(SEVERITIES))
                    )
                bar.advance(1)
    scored.workspace.store.add_results([*rows, *_means(rows, scored.protocol)])


def _means(rows: list[ResultRow], protocol: str) -> list[ResultRow]:
    """One row for each metric, with its mean over all corruptions and severities."""
    found: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        found[row.metric].append(row)
    return [
        replace(each[0], protocol=protocol, step=1, steps=1, value=fmean(row.value for row in each))
        for each in found.values()
    ]
