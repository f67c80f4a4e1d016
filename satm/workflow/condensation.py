"""Condensing a data set into a registered synthetic set, from whatever was already done."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evaluation import RECIPES
from registry import Registry, SetRecord
from registry.provenance import environment
from satm import data as datasets
from satm import networks
from satm.config import override
from satm.data.size import native_image_size
from satm.device import resolve_device
from satm.errors import ConfigError, Diverged, Interrupted, RegistryError, SatmError
from satm.experts import Trajectory, train_experts
from satm.experts.train import expert_store
from satm.methods import METHODS, Condensation, Learnt, Request, Task, check_ipc
from satm.methods.trajectory import set_method
from satm.presets import CondenseConfig, Preset, find_preset
from satm.presets.profiles import CUSTOM
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.synthetic import SyntheticSet, digest
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.estimate import opening_line
from satm.workflow.events import Events
from satm.workflow.meter import Meter
from satm.workflow.resume import Start, find_start

NEUTRAL = ("engine", "compile")
SAVE_SECONDS = 60.0  # between checkpoints: what a crash can cost


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """What `condense` did."""

    record: SetRecord
    new: bool  # False: the registry had it already
    siblings: tuple[SetRecord, ...] = ()  # other sets of the same run, as the one that was not averaged


def default_profile() -> str:
    """`paper` where a CUDA device is found, else `cpu`."""

    return "paper" if torch.cuda.is_available() else "cpu"


def choose_preset(
    dataset: str,
    *,
    ipc: int,
    method: str = "satm",
    outer: str | None = None,
    profile: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_root: Path | None = None,
) -> Preset:
    """The preset of a data set at an IPC, single settings replaced (`outer_steps`, or dotted: `experts.count`).

    `outer` names another outer optimiser than the method's, `preset` another row to take the numbers from. Raises
    UsageError for what cannot be meant.
    """
    settings = settings or {}
    size, base = settings.get("image_size"), settings.get("base", settings.get("settings.base"))
    found = find_preset(
        dataset,
        ipc,
        method=method,
        outer=outer,
        profile=profile or default_profile(),
        image_size=size if isinstance(size, int) else native_image_size(dataset, root=data_root),
        row=preset,
        base=base if isinstance(base, str) else None,
    )
    return with_settings(found, settings)


def with_settings(preset: Preset, settings: Mapping[str, Any]) -> Preset:
    """`preset` with single settings replaced, each noted as a departure.

    What was at paper scale is `custom` afterwards, unless only the engine is another. Raises ConfigError for what is no
    setting but the request itself.
    """
    if not settings:
        return preset
    for name in ("dataset", "ipc", "method"):
        if name in settings:
            raise ConfigError(f"{name} is no setting; ask for another preset: satm condense DATASET --ipc N --method M")
    config = CondenseConfig.from_dict(override(preset.config.to_dict(), settings))
    RECIPES.get(config.recipe)
    # How a derivative is computed changes round-off alone: no departure from a paper's numbers.
    changed = tuple(f"set by hand: {k} = {v}" for k, v in settings.items() if k.split(".")[-1] not in NEUTRAL)
    profile = CUSTOM if preset.profile == "paper" and changed else preset.profile
    return replace(preset, config=config, profile=profile, departures=preset.departures + changed)


def load_data(
    config: CondenseConfig, *, data_root: Path | None, device: str = "cpu", progress: Progress = SILENT
) -> datasets.ImageData:
    """The data set of a configuration, preprocessed as it says, and of its classes alone where it names some."""
    data = datasets.load(
        config.dataset,
        root=data_root,
        image_size=config.image_size,
        zca=config.zca,
        validation=config.validation,
        device=resolve_device(device),
        progress=progress,
    )
    return data if config.classes is None else data.of_classes(config.classes)


def check_request(config: CondenseConfig, data: datasets.ImageData) -> None:
    """Raise ConfigError for what these images or this network cannot do, before anything is trained."""
    check_ipc(data, config.ipc)
    method = METHODS.get(config.method)
    method.check(
        Request(
            method=config.method,
            settings=config.settings,
            architecture=config.architecture,
            experts=config.experts,
            data=data,
            ipc=config.ipc,
        )
    )
    if method.expert_epochs(config.settings) is None:
        return
    network = networks.create(
        config.architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=Seed(0)
    )
    if any(True for _ in network.buffers()):
        raise ConfigError(
            f"{config.architecture} keeps running statistics, which a trajectory of parameters does not hold; condense "
            "on a network without, as convnet3, and evaluate on this one (satm eval-arch)"
        )


def prepare_experts(
    config: CondenseConfig, data: datasets.ImageData, *, device: str = "auto", progress: Progress = SILENT
) -> list[Trajectory]:
    """The experts a condensation needs, trained where they are missing; none for methods that need none."""
    epochs = METHODS.get(config.method).expert_epochs(config.settings)
    if epochs is None:
        return []
    where = resolve_device(device)
    return train_experts(data, config.architecture, config.experts, epochs=epochs, device=where, progress=progress)


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
) -> Condensed:
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
                return Condensed(record=made, new=False, siblings=tuple(o for o in others if o.id != made.id))
            saved = None if fresh else checkpoint.load()
            if saved is not None and (before is None or before.status == "done"):
                progress.say("the run that was stopped is not in this registry any more; starting over")
                saved = None
            if saved is None and start is not None:
                if start.state is None:
                    raise RegistryError(f"run {start.run} left no saved state to go on from; start over without --from")
                saved = start.state
            progress.say(opening_line(preset, data, where, steps_done=int(saved["step"]) if saved else 0))
            task = Task(
                data=data,
                ipc=config.ipc,
                architecture=config.architecture,
                seed=Seed(seed),
                device=where,
                experts=prepare_experts(config, data, device=device, progress=progress),
                notify=progress.say,
            )
            condensation = METHODS.get(config.method).begin(task, config.settings)
            earlier = {} if before is None or saved is None else before.config.get("notes", {})
            for name, note in condensation.notes.items():
                progress.say(note)
                if earlier.get(name, note) != note:
                    progress.say(
                        f"the session before ran {earlier[name]}: the result may differ in round-off from one go"
                    )
            run = store.start_run(
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
                device=str(where),
                environment=environment(),
                command=" ".join(sys.argv),
            )
            if saved is not None:
                condensation.restore(saved)
                progress.say(f"continuing from outer step {condensation.step} of {condensation.steps}")
            try:
                _run(condensation, checkpoint, store, run, where, progress)
                learnt = condensation.result()
                known = {record.id for record in store.sets()}
                more = [] if start is None else [f"run:{start.run}"]
                more += [] if parent is None else [f"set:{parent}"]
                record = store.add_set(_describe(learnt, preset, data, seed, more), run=run)
                siblings = tuple(
                    store.add_set(_describe(other, preset, data, seed, more, sibling=name), run=run)
                    for name, other in learnt.siblings.items()
                )
            except Interrupted:
                store.finish_run(run, status="interrupted")
                raise
            except Diverged as error:
                store.finish_run(run, status="failed", message=str(error))
                if not condensation.step:
                    raise
                raise Diverged(
                    f"{error}; the state before it is saved, go on from there under other settings with --from {run}",
                    measured=error.measured,
                ) from error
            except Exception as error:
                store.finish_run(run, status="failed", message=str(error))
                raise
            store.finish_run(run, status="done", set_id=record.id)
            checkpoint.remove()
    return Condensed(record=record, new=record.id not in known, siblings=siblings)


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


def _run(
    condensation: Condensation,
    checkpoint: Checkpoint,
    store: Registry,
    run: str,
    device: torch.device,
    progress: Progress,
) -> None:
    """All outer steps that are left, saved every minute, at a stop and at a failure."""
    store.drop_metrics_from(run, condensation.step)
    started = last_save = time.monotonic()
    rows: list[tuple[int, str, float]] = []
    events, meter = Events(progress), Meter(device)

    def save() -> None:
        nonlocal last_save, started
        store.add_metrics(run, rows)
        rows.clear()
        checkpoint.save(condensation.state())
        last_save = time.monotonic()
        store.add_seconds(run, last_save - started)
        started = last_save

    with progress.task("condense", condensation.steps, done=condensation.step) as task:
        while condensation.step < condensation.steps:
            step = condensation.step
            try:
                measured = condensation.advance()
            except SatmError as error:
                if isinstance(error, Diverged):
                    rows.extend((step, name, value) for name, value in error.measured.items())
                save()
                raise
            except torch.OutOfMemoryError as error:
                save()
                raise SatmError(
                    f"outer step {step + 1} does not fit the memory of {device}, all before it is saved; lower window "
                    "(satm plan --memory says which fits), or take engine=replay"
                ) from error
            meter.step()
            events.see(step, measured)
            rows.extend((step, name, float(value)) for name, value in measured.items())
            task.advance(1, **{name: measured[name] for name in ("loss", "step_size") if name in measured})
            if progress.stopping() and condensation.step < condensation.steps:
                save()
                raise Interrupted(
                    f"stopped after outer step {condensation.step} of {condensation.steps}, all saved; "
                    "the same command goes on from there"
                )
            if time.monotonic() - last_save > SAVE_SECONDS:
                save()
    rows.extend((condensation.steps - 1, name, value) for name, value in meter.close().items())
    store.add_metrics(run, rows)
    store.add_seconds(run, time.monotonic() - started)
    events.close()


def _describe(
    learnt: Learnt,
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
