"""Condenses one preset under several seeds at the same time, in worker processes or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry import Group, Registry, SetRecord
from registry.store import now
from satm.errors import RegistryError, SatmError
from satm.machine.device import resolve_device
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.workflow.condense.estimate import opening_line
from satm.workflow.condense.expert_tasks import fan_out_experts
from satm.workflow.condense.inputs import check_request, load_data
from satm.workflow.condense.judging import Judging
from satm.workflow.condense.made import MadeRuns
from satm.workflow.condense.memory import warn_of_memory
from satm.workflow.condense.run import CondensationResult, condense
from satm.workflow.condense.seeds import check_seeds, with_expert_seed
from satm.workflow.fan_out import LocalWorkers, Outcome, Place, Work, fan_out


@dataclass(frozen=True, kw_only=True)
class CondenseSeed:
    """The task of one seed: a condensation that a worker process runs."""

    preset: Preset  # with the seed of its experts already chosen
    seed: int
    fresh: bool = False
    since: str | None = field(default=None, repr=False)
    """The time at which the command began, used with `fresh`: if a worker dies, the next worker continues the work done
    since then. The time is not a part of the repr. A Ray worker finds the scratch (temporary) registry of a task by the
    repr of the task, and the same task in a later command must find the same registry."""
    judging: Judging | None = None
    log: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that messages show."""
        return f"seed {self.seed}"

    def run(self, work: Work) -> None:
        """Condense the set, continue its unfinished run, or find that it is stored already."""
        condense(
            self.preset,
            seed=self.seed,
            device=work.device,
            registry=work.registry,
            data_root=work.data_root,
            fresh=self.fresh,
            since=self.since,
            judging=self.judging,
            log=self.log,
            progress=work.progress,
        )


def condense_side_by_side(
    preset: Preset,
    seeds: Sequence[int],
    place: Place,
    *,
    share_experts: bool = False,
    device: str = "auto",
    threads: int | None = None,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    fresh: bool = False,
    judging: Judging | None = None,
    log: Sequence[str] = (),
    progress: Progress = SILENT,
    on_set: Callable[[int, CondensationResult], None] = lambda seed, done: None,
) -> Group:
    """Do what `condense_seeds` does, but condense each seed in its own process at `place`.

    `place` says where the processes run: on this machine or on a Ray cluster. `threads` is the number of CPU threads of
    each process. The sets are equal, bit for bit, to those that `condense_seeds` makes with as many threads. The set
    that is finished first gets the lowest version number. If one seed fails, the other seeds go on. Shared experts are
    trained first, also at `place`.

    Raises SatmError if a seed failed, after all other seeds are done. Raises Interrupted if the user asks to stop;
    everything is saved before.
    """
    check_seeds(seeds)
    here = device if place.is_here else "auto"  # this machine may lack the device of the cluster's machines
    data = load_data(preset.config, data_root=data_root, device=here, progress=progress)
    check_request(preset.config, data)
    progress.say(f"{opening_line(preset, data, resolve_device(here))}; this for each of {len(seeds)} seeds")
    if isinstance(place, LocalWorkers):
        warn_of_memory(min(place.count, len(seeds)), preset, data, resolve_device(here), progress)
    del data  # each worker loads the data for itself
    before = _stored(registry, preset, seeds, share_experts=share_experts)
    work = Work(registry=Path(registry), device=device, threads=threads, data_root=data_root, progress=progress)
    if share_experts:
        fan_out_experts(preset.config, place, device=device, threads=threads, data_root=data_root, progress=progress)

    def tell(outcome: Outcome) -> None:
        if outcome.error is None and isinstance(outcome.task, CondenseSeed):
            seed = outcome.task.seed
            (record,) = _found(registry, preset, [seed], share_experts=share_experts)
            new = seed not in before or before[seed].id != record.id
            on_set(seed, CondensationResult(record=record, run=record.run_id or "", new=new))

    since = now() if fresh else None
    like = CondenseSeed(preset=preset, seed=seeds[0], fresh=fresh, since=since, judging=judging, log=tuple(log))
    tasks = [replace(like, preset=_of_seed(preset, seed, share_experts=share_experts), seed=seed) for seed in seeds]
    outcomes = fan_out(tasks, place, work, on_end=tell)
    failed = [f"{outcome.task.name}: {outcome.error}" for outcome in outcomes if outcome.error is not None]
    if failed:
        raise SatmError(f"{len(failed)} of {len(seeds)} seeds failed: {'; '.join(failed)}")
    records = _found(registry, preset, seeds, share_experts=share_experts)
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.group_of(records)


def _of_seed(preset: Preset, seed: int, *, share_experts: bool) -> Preset:
    return preset if share_experts else with_expert_seed(preset, seed)


def _stored(registry: Path | str, preset: Preset, seeds: Sequence[int], *, share_experts: bool) -> dict[int, SetRecord]:
    """Return for each seed the set of its newest finished run. Seeds without a finished run are left out."""
    if not Path(registry).exists():
        return {}
    with Registry.open(registry, read_only=True) as store:
        made = MadeRuns(store, preset.config.dataset)
        found = {seed: made.record(_of_seed(preset, seed, share_experts=share_experts), seed) for seed in seeds}
    return {seed: record for seed, record in found.items() if record is not None}


def _found(registry: Path | str, preset: Preset, seeds: Sequence[int], *, share_experts: bool) -> list[SetRecord]:
    """Return the stored set of each seed, in the order of `seeds`. Raises RegistryError if a set is missing."""
    stored = _stored(registry, preset, seeds, share_experts=share_experts)
    for seed in seeds:
        if seed not in stored:
            raise RegistryError(f"the set of seed {seed} is not in {registry}; give the same command again")
    return [stored[seed] for seed in seeds]
