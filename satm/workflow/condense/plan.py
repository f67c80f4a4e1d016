"""Predicts the time and memory of a condensation, and finds what finished runs of the same configuration took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from registry import Registry
from registry.provenance import environment
from satm.errors import PluginError, UsageError
from satm.experts import Trajectory
from satm.machine.device import resolve_device
from satm.machine.ram import resident
from satm.methods import METHODS, Condensation, Task
from satm.methods.trajectory.calibrate import StepCost, calibrate
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.unrolled import UnrolledConfig
from satm.networks import plan_for
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.types import FlatParams
from satm.workflow.condense.estimate import epoch_seconds, missing_expert_epochs, spell_reach
from satm.workflow.condense.inputs import check_request, load_data
from satm.workflow.condense.meter import PEAK_BYTES, STEP_SECONDS
from satm.workflow.condense.timed import timed_steps


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measured cost of a finished run of the same configuration."""

    name: str  # the name of the set that the run made
    step_seconds: float  # the mean seconds of an outer step
    peak_bytes: float | None  # the peak memory above that of the loaded process; None if it was not measured


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The predicted time and memory of a condensation.

    A number of bytes is None if this system does not report it. Peak memory does not include the memory of the process
    with its data loaded.
    """

    preset: Preset
    engine: str  # how the steps are computed, in words
    outer_steps: int
    step_seconds: float  # the mean seconds of an outer step
    expert_epochs: int  # the epochs of experts that must be trained first, because no stored expert has them
    epoch_seconds: float  # the seconds of one such epoch; 0 if no epoch is missing
    calibration_seconds: float  # the seconds that the plan itself took, with compilation
    peak_bytes: float | None
    loaded_bytes: int | None  # the memory of the process with its data, before the first outer step
    inner_steps: int | None  # N; None if the method differentiates no inner loop
    window: int | None  # the number of last inner steps that are differentiated; None if there is no inner loop
    warning: str  # a text if one outer step reaches less than 90% of the images (`spell_reach`); otherwise empty
    # The largest window that fits the given memory; None if no memory is given or reported, or if there is no window.
    largest_window: int | None
    measured: tuple[Measured, ...]  # what finished runs of the same configuration took, with this device, CPU and torch

    @property
    def seconds(self) -> float:
        """The seconds of the whole job: the outer steps and the training of missing experts."""
        return self.outer_steps * self.step_seconds + self.expert_epochs * self.epoch_seconds


def plan(
    preset: Preset,
    *,
    device: str = "auto",
    memory: float | None = None,
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """Predict the cost of a condensation by timing a few outer steps. Nothing is stored.

    If the method differentiates an inner loop, the timed steps are short, and with `memory` (bytes of the whole
    process) the plan also finds the largest window that fits. Otherwise whole outer steps are timed. Random
    trajectories take the place of experts, because the cost does not depend on the values of the parameters. `registry`
    is read for finished runs. Raises UsageError for a method without outer steps, and the errors of `condense`.
    """
    config = preset.config
    resolved = resolve_device(device)
    data = load_data(config, data_root=data_root, device=device, progress=progress)
    check_request(config, data)
    epochs = METHODS.get(config.method).expert_epochs(config.settings)
    network = plan_for(config.architecture, data).create(Seed(0))
    work = METHODS.get(config.method).outer_work(config.settings, network, data, config.seen_ipc)
    if work is None or work.steps == 0:
        why = "has no outer steps that take time" if work is None else "has 0 outer steps here"
        raise UsageError(f"method {config.method} {why}, as plan needs; satm condense does its work at once")
    experts = [RandomTrajectory(network, epochs or 0, Seed(0).child("plan", i)) for i in range(2)]
    started, loaded = time.perf_counter(), resident(resolved)
    task = Task(
        data=data,
        ipc=config.ipc,
        parametrisation=config.decoding,
        architecture=config.architecture,
        seed=Seed(0),
        device=resolved,
        experts=cast("Sequence[Trajectory]", experts),
        notify=progress.say,
    )
    condensation = _begin(config.method, task, config.settings)
    for note in condensation.notes.values():
        progress.say(note)
    cost = _cost(condensation, resolved, memory, loaded)
    spent = time.perf_counter() - started
    missing = missing_expert_epochs(config, data)
    return Plan(
        preset=preset,
        engine=cost.engine,
        outer_steps=work.steps,
        step_seconds=cost.step_seconds,
        expert_epochs=missing,
        epoch_seconds=epoch_seconds(config, data, resolved) if missing else 0.0,
        calibration_seconds=spent,
        peak_bytes=cost.peak_bytes,
        loaded_bytes=loaded,
        inner_steps=cost.inner_steps,
        window=cost.window,
        warning=spell_reach(work),
        largest_window=cost.largest_window,
        measured=_measured(Path(registry), preset, str(resolved)),
    )


def _begin(method: str, task: Task, settings: Any) -> Condensation:
    """Return the condensation at outer step 0.

    Raises PluginError if the method says that it differentiates an inner loop, and begins no TrajectoryCondensation.
    """
    entry = METHODS.get(method)
    condensation = entry.begin(task, settings)
    if entry.unrolls and not isinstance(condensation, TrajectoryCondensation):
        raise PluginError(
            f"method '{method}' of {METHODS.owner(method)} begins a {type(condensation).__name__}, and only a "
            "TrajectoryCondensation can be planned; satm condense --dry-run says what it would do"
        )
    return condensation


class _Cost(NamedTuple):
    """The fields of `Plan` that are measured on the condensation."""

    engine: str
    step_seconds: float
    peak_bytes: float | None
    inner_steps: int | None = None
    window: int | None = None
    largest_window: int | None = None


def _cost(condensation: Condensation, device: torch.device, memory: float | None, loaded: int | None) -> _Cost:
    if not isinstance(condensation, TrajectoryCondensation):
        timed = timed_steps(condensation, device)
        return _Cost("no inner loop is differentiated", timed.seconds, timed.peak_bytes)
    cost, settings = calibrate(condensation), condensation.config
    window = settings.inner_steps - settings.iota
    return _Cost(
        engine=str(condensation.engine),
        step_seconds=cost.seconds(settings.mean_steps(), window, settings.diagnostics_every),
        peak_bytes=cost.memory(settings.largest_window(), diagnosed=settings.diagnostics_every > 0),
        inner_steps=settings.inner_steps,
        window=window,
        largest_window=_largest_window(cost, settings, memory, loaded),
    )


def _largest_window(cost: StepCost, settings: UnrolledConfig, memory: float | None, loaded: int | None) -> int | None:
    if memory is None or loaded is None or not settings.windows:
        return None
    diagnosed = settings.diagnostics_every > 0
    found = cost.largest_window(settings.inner_steps, memory - loaded, diagnosed=diagnosed)
    # An outer step may have a window that is longer than the setting `window`. This longer one must fit.
    longer = settings.largest_window() - (settings.inner_steps - settings.iota)
    return None if found is None else max(0, found - longer)


def _measured(registry: Path, preset: Preset, device: str) -> tuple[Measured, ...]:
    """Return the costs of finished runs of exactly this configuration, on this device and with this CPU and torch."""
    if not registry.exists():
        return ()
    wanted: dict[str, Any] = {"condense": preset.config.to_dict(), "departures": list(preset.departures)}
    here = environment()
    found = []
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        for run in store.runs(kind="condense"):
            same = all(run.config.get(name) == value for name, value in wanted.items()) and run.device == device
            if run.status != "done" or run.set_id is None or not same:
                continue
            facts = store.environment(run.environment_id).facts
            if any(facts.get(name) != here[name] for name in ("cpu", "cores", "torch")):
                continue
            metrics = {row.name: row.value for row in store.metrics(run.id) if row.name in (STEP_SECONDS, PEAK_BYTES)}
            if STEP_SECONDS in metrics:
                found.append(
                    Measured(
                        name=store.find(run.set_id).name,
                        step_seconds=metrics[STEP_SECONDS],
                        peak_bytes=metrics.get(PEAK_BYTES),
                    )
                )
    return tuple(found)


class RandomTrajectory:
    """A trajectory whose snapshots are random: the initial weights of the network plus noise.

    The snapshots have the same size as those of a trained expert.
    """

    def __init__(self, network: torch.nn.Module, epochs: int, seed: Seed) -> None:
        from satm.engine import flatten

        self.epochs = epochs
        self._start = flatten(network.parameters()).detach()
        self._seed = seed

    def snapshot(self, epoch: int) -> FlatParams:
        """The parameters after `epoch` epochs, a flat vector [P]. The same epoch always gives the same vector."""
        generator = self._seed.child(epoch).generator()
        return self._start + 0.01 * torch.randn(self._start.shape, generator=generator)
