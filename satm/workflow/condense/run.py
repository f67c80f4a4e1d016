"""Condensing a data set into a registered synthetic set, from whatever was already done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from registry import Registry, RunRecord, SetRecord
from registry.provenance import environment
from satm import data as datasets
from satm.errors import Diverged, Interrupted, RegistryError
from satm.experts.train import expert_store
from satm.machine.device import resolve_device
from satm.methods import METHODS, Condensation, Outcome, Task
from satm.methods.trajectory.config import set_method
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet, digest
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.estimate import opening_line
from satm.workflow.condense.inputs import check_request, load_data, prepare_experts
from satm.workflow.condense.outer_loop import run_outer_steps
from satm.workflow.condense.resume import Start, find_start


@dataclass(frozen=True, kw_only=True)
class CondensationResult:
    """What `condense` did."""

    record: SetRecord
    new: bool  # False: the registry had it already
    siblings: tuple[SetRecord, ...] = ()  # other sets of the same run, as the one that was not averaged


def preview(preset: Preset, *, device: str = "auto", data_root: Path | None = None, progress: Progress = SILENT) -> str:
    """What `condense` would say first: scale, expected duration and the work to be done."""
    data = load_data(preset.config, data_root=data_root, device=device, progress=progress)
    check_request(preset.config, data)
    return opening_line(preset, data, resolve_device(device))


def condense(
    preset: Preset,
    *,
    seed: int = 0,
    device: str = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    fresh: bool = False,
    start_from: str | None = None,
    parent: str | None = None,
    progress: Progress = SILENT,
) -> CondensationResult:
    """Condense by `preset` and store the result in the registry file.

    The same call continues an interrupted one to the same bits and returns the stored set of a finished one; `fresh`
    starts over. `start_from`, an id of an unfinished run here, begins at that run's saved state under these settings;
    run and set say so. `parent` is the id of the set whose step of a class-incremental stream this one is. Raises
    Interrupted with everything saved, Diverged with the last good state saved.
    """
    config = preset.config
    where = resolve_device(device)
    if Path(registry).exists():
        Registry.open(registry).close()  # a file that is no registry is found out before any work, a new one made after
    data = load_data(config, data_root=data_root, device=device, progress=progress)
    check_request(config, data)
    with Registry.open(registry) as store:
        start = None if start_from is None else find_start(start_from, preset, store)
        if start is not None:
            preset = replace(preset, departures=(*preset.departures, start.departure))
        key = _run_key(preset, data, seed, where.type, Path(registry), start)
        checkpoint = Checkpoint(key)
        with checkpoint.held():
            before = store.find_run(key)
            if before is not None and before.status == "done" and before.set_id and not fresh:
                made = store.find(before.set_id)
                others = [each for each in store.sets(dataset=config.set_dataset) if each.run_id == before.id]
                return CondensationResult(record=made, new=False, siblings=tuple(o for o in others if o.id != made.id))
            saved = _saved_state(checkpoint, before, start, fresh, progress)
            progress.say(opening_line(preset, data, where, steps_done=int(saved["step"]) if saved else 0))
            heard = _Heard(store, progress)
            task = Task(
                data=data,
                ipc=config.ipc,
                architecture=config.architecture,
                seed=Seed(seed),
                device=where,
                experts=prepare_experts(config, data, device=device, progress=progress),
                notify=heard,
            )
            condensation = METHODS.get(config.method).begin(task, config.settings)
            earlier = {} if before is None or saved is None else before.config.get("notes", {})
            for name, note in condensation.notes.items():
                progress.say(note)
                if earlier.get(name, note) != note:
                    progress.say(
                        f"the session before ran {earlier[name]}: the result may differ in round-off from one go"
                    )
            run = heard.run = _start_run(store, key, preset, condensation, data, seed, where)
            if saved is not None:
                condensation.restore(saved)
                progress.say(f"continuing from outer step {condensation.step} of {condensation.steps}")
            with _ending(store, run, condensation):
                run_outer_steps(condensation, checkpoint, store, run, where, progress)
                learnt = condensation.result()
                known = {record.id for record in store.sets()}
                more = [] if start is None else [f"run:{start.run}"]
                more += [] if parent is None else [f"set:{parent}"]
                record, *siblings = (
                    store.add_set(_describe(each, preset, data, seed, more, sibling=name), run=run)
                    for name, each in [(None, learnt), *learnt.siblings.items()]
                )
            store.finish_run(run, status="done", set_id=record.id)
            checkpoint.remove()
    return CondensationResult(record=record, new=record.id not in known, siblings=tuple(siblings))


def _saved_state(
    checkpoint: Checkpoint, before: RunRecord | None, start: Start | None, fresh: bool, progress: Progress
) -> Mapping[str, torch.Tensor] | None:
    """Where to go on: this run's own state, else the one it is to start from; None for the very beginning."""
    saved = None if fresh else checkpoint.load()
    if saved is not None and (before is None or before.status == "done"):
        progress.say("the run that was stopped is not in this registry any more; starting over")
        saved = None
    if saved is not None or start is None:
        return saved
    if start.state is None:
        raise RegistryError(f"run {start.run} left no saved state to go on from; start over without --from")
    return start.state


class _Heard:
    """Says what a condensation says of itself, and adds it to the notes of `run`, which promised otherwise."""

    def __init__(self, store: Registry, progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.run: str | None = None  # before it starts, its notes are not stored yet

    def __call__(self, message: str) -> None:
        self.progress.say(message)
        if self.run is not None:
            notes = self.store.run(self.run).config["notes"]
            self.store.amend_run(self.run, notes={name: f"{note}; {message}" for name, note in notes.items()})


def _start_run(
    store: Registry,
    key: str,
    preset: Preset,
    condensation: Condensation,
    data: datasets.ImageData,
    seed: int,
    device: torch.device,
) -> str:
    config = preset.config
    return store.start_run(
        key=key,
        kind="condense",
        config={
            "preset": preset.name,
            "source": preset.source,
            "departures": list(preset.departures),
            "condense": config.to_dict(),
            "data_root": data.root,
            "notes": dict(condensation.notes),
        },
        profile=preset.profile,
        dataset=config.dataset,
        method=set_method(config.method, config.settings),
        ipc=config.ipc,
        seed=seed,
        device=str(device),
        environment=environment(),
        command=" ".join(sys.argv),
    )


@contextmanager
def _ending(store: Registry, run: str, condensation: Condensation) -> Iterator[None]:
    """Whatever ends the work early is stored with the run; a divergence says how to go on."""
    try:
        yield
    except Interrupted:
        store.finish_run(run, status="interrupted")
        raise
    except Exception as error:
        store.finish_run(run, status="failed", message=str(error))
        if not isinstance(error, Diverged) or not condensation.step:
            raise
        raise Diverged(
            f"{error}; the state before it is saved, go on from there under other settings with --from {run}",
            measured=error.measured,
        ) from error


def _run_key(
    preset: Preset, data: datasets.ImageData, seed: int, device: str, registry: Path, start: Start | None
) -> str:
    """Equal for equal requests: bits can only be promised on one kind of device, metrics live in one registry."""
    return digest(
        {
            "version": 1,
            "config": preset.config.to_dict(),
            "profile": preset.profile,
            "data": data.fingerprint,
            "seed": seed,
            "device": device,
            "registry": str(registry.resolve()),
            **({} if start is None else {"start": start.run}),
        }
    )[:32]


def _describe(
    learnt: Outcome,
    preset: Preset,
    data: datasets.ImageData,
    seed: int,
    more_parents: Sequence[str],
    *,
    sibling: str | None = None,
) -> SyntheticSet:
    config = preset.config
    method = set_method(config.method, config.settings)
    parents = [f"data:{data.fingerprint}"]
    if METHODS.get(config.method).expert_epochs(config.settings) is not None:
        parents.append(f"experts:{expert_store(data, config.architecture, config.experts).key}")
    return SyntheticSet(
        images=learnt.images,
        labels=learnt.labels,
        label_kind=learnt.label_kind,
        step_size=learnt.step_size,
        dataset=config.set_dataset,
        classes=data.classes,
        ipc=config.ipc,
        method=method if sibling is None else f"{method}-{sibling}",
        preprocessing=data.preprocessing,
        profile=preset.profile,
        seed=seed,
        config={"condense": config.to_dict()},
        parents=(*parents, *more_parents),
    )
