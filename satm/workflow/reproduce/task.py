"""A task of a study: the condensation of one cell with one seed, and the evaluations of the set that it makes."""

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
    """One condensation with its evaluations, as a task of `satm.workflow.fan_out`.

    Sets and results that the registry already holds are not made again.
    """

    name: str
    preset: Preset
    seed: int
    # Pairs (evaluation, its number of networks). None: the number of the recipe, or of the profile for a stream.
    evaluations: tuple[tuple[Evaluation, int | None], ...]
    studies: tuple[str, ...] = ()  # the names of the studies that have a cell with this set
    obstacle: str = ""  # the reason why nothing of the task can be done on this machine; "" if it can
    too_large: str = ""  # the reason why the set cannot be made on this machine; a stored set can still be judged

    def run(self, work: Work) -> None:
        """Make the set unless it is stored, and train the networks whose results are not stored.

        If another process is making the same set or the same evaluation, this task waits until that process has
        finished. Raises SatmError if the disk is nearly full, and the errors of the condensation and evaluations.
        """
        free = shutil.disk_usage(work.registry.absolute().parent).free
        if free < ROOM:
            raise SatmError(
                f"{free / 1e6:.0f} MB are free on the disk of {work.registry}, expected {ROOM / 1e6:.0f} MB or more; "
                "free some space, then give the same command: it continues"
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
        """Whether work is left, and whether it can be done on this machine.

        Returns None if nothing is left, "" if the rest can be done, and otherwise the reason why it cannot be done.
        `made` has the stored condensation runs; None: there is no registry yet.
        """
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
            labels=evaluation.labels,
            device=work.device,
            registry=work.registry,
            data_root=work.data_root,
            progress=work.progress,
            **own,
        )
