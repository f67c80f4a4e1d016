"""Reads and stores the result rows of evaluation networks, and finds the metrics that are missing.

A row is one number: one metric of one network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from evaluation import DIVERGED, METRICS, EvaluationResult, RateChoice, from_predictions
from registry import PredictionRow, Registry, ResultRow
from registry.predictions import images_digest
from satm.data import Split
from satm.progress import Progress
from satm.workflow.evaluate.subject import Entrant, MemoryKind

ROUND_OFF = 1e-9  # two accuracies that differ by less than this are regarded as the same number
# A key in the `detail` of an accuracy row. Its value lists the metrics of the same network that were not finite.
NOT_FINITE = "not_finite"
# A key in the `detail` of a row with a learning rate that was chosen from the grid. Its value is `RateChoice.facts`.
GRID = "grid"


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What is stored about the test images of an evaluation beside the predictions on them."""

    digest: str  # a hash of the images and their labels
    num_classes: int
    targets: np.ndarray  # the true classes of the n test images [n]

    @classmethod
    def of(cls, test: Split, num_classes: int) -> Self:
        """Return the facts about the images of the split `test`."""
        targets = test.labels.numpy()
        return cls(digest=images_digest(test.images.numpy(), targets), num_classes=num_classes, targets=targets)

    def row(self, predicted: torch.Tensor, **network: Any) -> PredictionRow:
        """Return the row that stores the predicted classes [n] of a network.

        `network` has the other fields of the row: they say which network it is.
        """
        return PredictionRow(
            **network,
            test=self.digest,
            num_classes=self.num_classes,
            predicted=predicted.numpy(),
            targets=self.targets,
        )


@dataclass(frozen=True, kw_only=True)
class NetworkRows:
    """The stored networks that were trained by one recipe on one memory (the set, or real images in its place).

    Each network has one row for each of its stored metrics. A network that diverged has one row that says so.
    """

    store: Registry
    entrant: Entrant
    memory: str  # the name of the memory in stored results, such as `condensed[:3]`
    recipe_id: str
    found: Mapping[tuple[str, int], Mapping[str, ResultRow]]  # (architecture, repeat) → name of the metric → its row

    @classmethod
    def read(
        cls, store: Registry, entrant: Entrant, memory: MemoryKind, architectures: Sequence[str], recipe_id: str
    ) -> Self:
        """Read the stored rows of these architectures from the registry. The architectures are canonical names."""
        name = entrant.stored_memory(memory)
        found: dict[tuple[str, int], dict[str, ResultRow]] = {}
        for row in store.results(set=entrant.record.id, memory=name, recipe_id=recipe_id):
            if row.architecture in architectures and row.protocol == entrant.protocol(row.architecture):
                found.setdefault((row.architecture, row.repeat), {})[row.metric] = row
        return cls(store=store, entrant=entrant, memory=name, recipe_id=recipe_id, found=found)

    def accuracies(self, repeats: int) -> list[ResultRow]:
        """Return the accuracy row of each network of the first `repeats` repeats."""
        rows = [by_metric["accuracy"] for by_metric in self.found.values() if "accuracy" in by_metric]
        return [row for row in rows if row.repeat < repeats]

    def diverged(self, repeats: int) -> list[ResultRow]:
        """Return one row for each diverged network of the first `repeats` repeats. The row says that it diverged."""
        rows = [by_metric[DIVERGED] for by_metric in self.found.values() if DIVERGED in by_metric]
        return [row for row in rows if row.repeat < repeats]

    def lacking(self, repeats: int) -> dict[tuple[str, int], set[str]]:
        """Return the networks that lack a metric of the table `METRICS`, each with the names of its missing metrics.

        Only networks of the first `repeats` repeats are returned. The keys are (architecture, repeat).
        """
        missing = {network: set(METRICS) - _done(by_metric) for network, by_metric in self.found.items()}
        return {network: names for network, names in missing.items() if names and network[1] < repeats}

    def complete(self) -> set[tuple[str, int]]:
        """Return the networks (architecture, repeat) that have every metric of the table `METRICS`.

        A network that diverged is among them, because no metric of it can be measured.
        """
        return {network for network, by_metric in self.found.items() if set(METRICS) <= _done(by_metric)}

    def predicted(self) -> dict[tuple[str, int], PredictionRow]:
        """Return the stored predictions by network (architecture, repeat), for the networks that have rows."""
        rows = self.store.predictions(set=self.entrant.record.id, memory=self.memory, recipe_id=self.recipe_id)
        # The protocol is compared because class-incremental streams also store predictions for real images.
        by_network = {
            (row.architecture, row.repeat): row
            for row in rows
            if row.protocol == self.entrant.protocol(row.architecture)
        }
        return {network: by_network[network] for network in self.found if network in by_network}

    def with_metrics_of_predictions(self, repeats: int) -> Self:
        """Compute missing metrics from stored predictions, store them, and return the rows with the new ones.

        Some metrics need only the predictions of a network. If a network of the first `repeats` repeats lacks such
        metrics and its predictions are stored, it need not be trained again for them. Raises PluginError for a metric
        that fails.
        """
        wanted = {name for name in METRICS if METRICS.get(name).needs == "predictions"}
        lacking = {network: names & wanted for network, names in self.lacking(repeats).items()}
        if not any(lacking.values()):
            return self
        found = {network: dict(by_metric) for network, by_metric in self.found.items()}
        new = []
        for network, predicted in self.predicted().items():
            by_metric = found[network]
            for name in sorted(lacking.get(network, ())):
                value = from_predictions(
                    METRICS.get(name), predicted.predicted, predicted.targets, predicted.num_classes
                )
                if math.isfinite(value):
                    like = next(iter(by_metric.values()))
                    detail = {key: fact for key, fact in like.detail.items() if key != NOT_FINITE}
                    by_metric[name] = replace(like, metric=name, value=value, detail=detail)
                    new.append(by_metric[name])
        self.store.add_results(new)
        return replace(self, found=found)

    def learning_rates(self) -> dict[str, RateChoice]:
        """Return the learning rates that an earlier session chose from the grid, by architecture."""
        rows = [row for by_metric in self.found.values() for row in by_metric.values()]
        return {
            row.architecture: RateChoice.from_facts(row.step_size, row.detail.get(GRID, {}))
            for row in rows
            if "grid" in row.detail["policy"]
        }

    def add(
        self,
        result: EvaluationResult,
        run_id: str,
        labels: Mapping[str, Any],
        progress: Progress,
        test: Tested | None = None,
    ) -> None:
        """Store those metrics of a trained network that have no row yet. Stored rows do not change.

        `labels` says which teacher labelled the batches; it is empty if the set's own labels were used. If `test` is
        given, the predictions of the network on these images are stored too, except if the network was trained again
        and its accuracy differs from the stored one. A network that diverged gets one row that says so.

        A metric that is not finite gets no row. Its name is stored in the detail of the accuracy row, so that the
        network is not trained again because of it. A message names such a metric. Another message says if a network
        that was trained again has another accuracy than the stored one.
        """
        stored = self.found.get((result.architecture, result.repeat), {})
        network = f"{result.architecture} (repeat {result.repeat})"
        before = stored["accuracy"].value if "accuracy" in stored else result.accuracy
        differs = abs(before - result.accuracy) > ROUND_OFF  # False if an accuracy is NaN
        if differs:
            progress.say(
                f"{network} has accuracy {result.accuracy:.4f} when trained again, but {before:.4f} is stored and "
                "stays; the metrics added now are of the new network (another machine or other code trained the old)"
            )
        new = {name: value for name, value in result.metrics.items() if name not in stored}
        rows = {
            name: self.row(result, name, value, run_id, labels) for name, value in new.items() if math.isfinite(value)
        }
        if undefined := sorted(new.keys() - rows.keys()):
            for name in undefined:
                progress.say(f"{network}: {name} is {new[name]} and is not stored")
            accuracy = rows.get("accuracy") or stored["accuracy"]
            known = accuracy.detail.get(NOT_FINITE, [])
            rows["accuracy"] = replace(accuracy, detail={**accuracy.detail, NOT_FINITE: sorted({*known, *undefined})})
        self.store.add_results(list(rows.values()))
        if test is not None and result.predicted is not None and not differs:
            self.store.add_predictions([test.row(result.predicted, **self._network(result), run_id=run_id)])

    def _network(self, result: EvaluationResult) -> dict[str, Any]:
        """Return the fields that the rows and the predictions of one network have in common."""
        return {
            "set_id": self.entrant.record.id,
            "protocol": self.entrant.protocol(result.architecture),
            "architecture": result.architecture,
            "memory": self.memory,
            "recipe_id": self.recipe_id,
            "repeat": result.repeat,
        }

    def row(
        self, result: EvaluationResult, metric: str, value: float, run_id: str, labels: Mapping[str, Any]
    ) -> ResultRow:
        """Return the result row of one metric of a network."""
        return ResultRow(
            **self._network(result),
            metric=metric,
            value=value,
            profile=self.entrant.profile,
            seed=result.seed,
            step_size=result.learning_rate,
            detail={
                "policy": result.policy,
                "adaptation": dict(result.adaptation),
                "preprocessing": self.entrant.synthetic.preprocessing.kind,  # the same for the set and the test images
                "seconds": result.seconds,
                "training": result.training,
                **({} if result.choice is None else {GRID: result.choice.facts()}),
                **labels,
                **self.entrant.held_out,
            },
            run_id=run_id,
        )


def _done(by_metric: Mapping[str, ResultRow]) -> set[str]:
    """Return the metrics of a network that need not be computed: those with a row, and those that were not finite.

    If the network diverged, no metric can be computed, and all metrics are returned.
    """
    if DIVERGED in by_metric:
        return set(METRICS)
    undefined = by_metric["accuracy"].detail.get(NOT_FINITE, []) if "accuracy" in by_metric else []
    return {*by_metric, *undefined}
