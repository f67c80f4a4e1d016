"""One piece of a study's work: a condensation of one cell and seed, and the evaluations of its set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from registry import Registry, SetRecord
from satm.errors import SatmError
from satm.presets import Preset
from satm.studies import Evaluation
from satm.workflow.condense.made import MadeRuns
from satm.workflow.condense.run import condense
from satm.workflow.evaluate.in_domain import evaluate
from satm.workflow.fan_out import Work
from satm.workflow.incremental.run import evaluate_incremental
from satm.workflow.patience import when_free
from satm.workflow.reproduce.stored import POLICY, is_judged

ROOM = 64 * 2**20  # bytes that must be free on the registry's disk before a task begins


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """See `satm.workflow.fan_out.Task`. What the registry holds already is not made again."""

    name: str
    preset: Preset
    seed: int
    evaluations: tuple[tuple[Evaluation, int | None], ...]  # each with its number of networks; None: the recipe's
    obstacle: str = ""  # why nothing of it can be done here; "": it can
    too_large: str = ""  # why the set cannot be made here, although a stored one can be judged

    def run(self, work: Work) -> None:
        """Condense, unless the set is stored, and train the networks that are not stored. Raises SatmError.

        Another study may need the same set at the same time: then it waits for that one.
        """
        free = shutil.disk_usage(work.registry.absolute().parent).free
        if free < ROOM:
            raise SatmError(
                f"{free / 1e6:.0f} MB are free on the disk of {work.registry}, expected {ROOM / 1e6:.0f} MB or more; "
                "free some space, and the same command goes on"
            )
        record = self._stored(work)
        if record is None:
            make = partial(
                condense,
                self.preset,
                seed=self.seed,
                device=work.device,
                registry=work.registry,
                data_root=work.data_root,
                progress=work.progress,
            )
            record = when_free(make, f"{self.preset.name}, seed {self.seed},", work.progress).record
        for evaluation, networks in self.evaluations:
            judge = partial(self._judge, work, record, evaluation, networks)
            when_free(judge, f"an evaluation of {record.name}", work.progress)

    def left(self, made: MadeRuns | None) -> str | None:
        """Why what is left of it cannot be done here; "" if it can, None if nothing is left. None: no registry yet."""
        record = None if made is None else made.record(self.preset, self.seed)
        if made is not None and record is not None:
            if all(is_judged(made.store, record, *each) for each in self.evaluations):
                return None
            return self.obstacle
        return self.obstacle or self.too_large

    def _stored(self, work: Work) -> SetRecord | None:
        if not work.registry.exists():
            return None
        with Registry.open(work.registry, must_exist=True, read_only=True) as store:
            return MadeRuns(store, self.preset.config.dataset).record(self.preset, self.seed)

    def _judge(self, work: Work, record: SetRecord, evaluation: Evaluation, networks: int | None) -> None:
        with Registry.open(work.registry, must_exist=True, read_only=True) as store:
            if is_judged(store, record, evaluation, networks):
                return
        judge: Callable[..., object] = evaluate_incremental if evaluation.incremental else evaluate
        own = (
            {
                "steps": evaluation.steps,
                "protocol": evaluation.protocol,
                "orders": evaluation.orders,
                "networks": networks,
            }
            if evaluation.incremental
            else {"architectures": evaluation.architectures or None, "repeats": networks}
        )
        judge(
            record.name,
            recipe=evaluation.recipe,
            learning_rate=POLICY[evaluation.rate],
            device=work.device,
            registry=work.registry,
            data_root=work.data_root,
            progress=work.progress,
            **own,
        )
