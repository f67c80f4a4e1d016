"""The input of every score: a set with its real data, and how networks are trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from evaluation import Trainer
from registry import ResultRow
from satm.workflow.evaluate.subject import ROOT, MemoryKind, Subject
from satm.workflow.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A set for which a score is computed, with everything that the computation needs."""

    workspace: Workspace
    subject: Subject
    trainer: Trainer
    repeats: int  # the number of networks
    memories: tuple[MemoryKind, ...]  # what the networks of score `corruptions` are trained on
    run: str = ""  # the id of the run that is stored with the result rows
    protocol: str = ""  # the protocol of the result rows

    def of_run(self, run: str, protocol: str) -> Self:
        """A copy with this run and this protocol for its result rows."""
        return replace(self, run=run, protocol=protocol)

    def row(
        self,
        metric: str,
        value: float,
        *,
        repeat: int,
        recipe_id: str,
        detail: Mapping[str, Any],
        memory: str = "condensed",
        rate: float = 0.0,
    ) -> ResultRow:
        """A result row for the architecture that the set was made with.

        `rate` is the learning rate of the network; 0 if no network is trained.
        """
        return ResultRow(
            set_id=self.subject.record.id,
            protocol=self.protocol,
            architecture=self.subject.own,
            memory=memory,
            recipe_id=recipe_id,
            repeat=repeat,
            metric=metric,
            value=value,
            profile=self.subject.profile,
            seed=ROOT.root,
            step_size=rate,
            detail=dict(detail),
            run_id=self.run,
        )
