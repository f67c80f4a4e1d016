"""One piece of a study's work: a condensation of one cell and seed, and the evaluations of its set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from registry import Registry, SetRecord
from satm.errors import SatmError
from satm.presets import Preset
from satm.studies import Evaluation
from satm.workflow.condense.run import condense
from satm.workflow.evaluate.in_domain import evaluate
from satm.workflow.fan_out import Work
from satm.workflow.incremental.run import evaluate_incremental
from satm.workflow.reproduce.stored import POLICY, Stored, is_judged

ROOM = 64 * 2**20  # bytes that must be free on the registry's disk before a task begins


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """See `satm.workflow.fan_out.Task`. What the registry holds already is not made again."""

    name: str
    preset: Preset
    seed: int
    evaluations: tuple[tuple[Evaluation, int | None], ...]  # each with its number of networks; None: the recipe's

    def run(self, work: Work) -> None:
        """Condense, unless the set is stored, and train the networks that are not stored. Raises SatmError."""
        free = shutil.disk_usage(work.registry.absolute().parent).free
        if free < ROOM:
            raise SatmError(
                f"{free / 1e6:.0f} MB are free on the disk of {work.registry}, expected {ROOM / 1e6:.0f} MB or more; "
                "free some space, and the same command goes on"
            )
        record = self._stored(work)
        if record is None:
            record = condense(
                self.preset,
                seed=self.seed,
                device=work.device,
                registry=work.registry,
                data_root=work.data_root,
                progress=work.progress,
            ).record
        for evaluation, networks in self.evaluations:
            self._judge(work, record, evaluation, networks)

    def is_done(self, stored: Stored) -> bool:
        """Whether the set is stored and judged by every network."""
        record = stored.record(self.preset, self.seed)
        return record is not None and all(is_judged(stored.store, record, *each) for each in self.evaluations)

    def _stored(self, work: Work) -> SetRecord | None:
        if not work.registry.exists():
            return None
        with Registry.open(work.registry, must_exist=True, read_only=True) as store:
            return Stored(store).record(self.preset, self.seed)

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
