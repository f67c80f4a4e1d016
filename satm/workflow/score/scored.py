"""What every score is given: a set with its real data, and how networks are trained on it."""

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
    """A set that is scored."""

    workspace: Workspace
    subject: Subject
    trainer: Trainer
    repeats: int  # networks
    memories: tuple[MemoryKind, ...]  # that are tested on damaged images
    run: str = ""  # the id of the run that the rows name
    protocol: str = ""  # of the rows

    def of_run(self, run: str, protocol: str) -> Self:
        """The same, with the run and the protocol of its rows."""
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
        """A result row of the set's own architecture. `rate` is the learning rate; 0 if nothing is trained."""
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
