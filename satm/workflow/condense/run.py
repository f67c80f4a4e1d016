"""Condenses a data set into a stored synthetic set.

A run can be stopped and continued. Each part of the run that one process works on without a stop is a session.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from registry import Registry, RunRecord, SetRecord
from registry.provenance import environment
from satm import loggers
from satm.data import ImageData
from satm.errors import Diverged, Interrupted, Pruned, RegistryError
from satm.loggers import Wanted
from satm.loggers.base import Ending
from satm.machine.device import resolve_device
from satm.methods import METHODS, Condensation, Task
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.rng import Seed
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.estimate import opening_line
from satm.workflow.condense.inputs import check_request, load_data, prepare_experts
from satm.workflow.condense.job import Job
from satm.workflow.condense.judging import STATE, Judge, Judging, Watcher
from satm.workflow.condense.outer_loop import run_outer_steps
from satm.workflow.condense.recorded import check_continues
from satm.workflow.condense.run_log import WAITING, RunLog
from satm.workflow.condense.start_from import find_start
from satm.workflow.former_runs import continue_former
from satm.workflow.logging import Loggers
from satm.workflow.patience import writable_registry
from satm.workflow.teachers import prepare_teacher
from satm.workflow.workspace import Workspace, opened


@dataclass(frozen=True, kw_only=True)
class CondensationResult:
    """The stored sets of one `condense` call."""

    record: SetRecord  # the set that was asked for
    run: str  # the id of the run
    new: bool  # False if the registry already had the set `record`
    siblings: tuple[SetRecord, ...] = ()  # other sets of the same run, for example the set before it is averaged


def preview(
    preset: Preset,
    *,
    device: str = "auto",
    data_root: Path | None = None,
    judging: Judging | None = None,
    progress: Progress = SILENT,
) -> str:
    """Return the first line that `condense` prints: the profile, the device and the work to do. Nothing is stored.

    The arguments are checked as `condense` checks them.
    """
    data = load_data(preset.config, data_root=data_root, device=device, progress=progress)
    check_request(preset.config, data)
    if judging is not None:
        judging.check(preset.config, data)
    return opening_line(preset, data, resolve_device(device))


def condense(
    preset: Preset,
    *,
    seed: int = 0,
    device: str = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    fresh: bool = False,
    since: str | None = None,
    start_from: str | None = None,
    parent: str | None = None,
    continuing: str | None = None,
    judging: Judging | None = None,
    watcher: Watcher | None = None,
    log: Sequence[str | Wanted] = (),
    progress: Progress = SILENT,
) -> CondensationResult:
    """Condense the data set of `preset` and store the synthetic set in the registry file.

    The same call again continues an interrupted run; the set is the same, bit for bit, as without the interruption. If
    the run is finished, the call returns its stored set.

    Args:
        preset: the data set, the method and the settings, from `satm.choose_preset`.
        seed: the seed of every random draw of the condensation. Sets that differ only in their seeds form a group.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        registry: the registry file. If it does not exist, a new one is made.
        data_root: the only folder in which data sets are looked for; None: the usual places.
        fresh: start over, even if there is a saved state or a finished run.
        since: with `fresh`, a time (UTC, ISO 8601). If the run has worked after this time, it is continued and not
            started over. A command needs this to start a dead worker again: the new worker goes on from that work.
        start_from: id of an unfinished run. The new run begins at the saved state of that run, under the settings of
            `preset`. The id is stored with the new run and its set.
        parent: id of the set of all classes, if this set is one step of a class-incremental stream.
        continuing: id of the run that the call must continue. None: the call continues the run of the same preset,
            seed, data and kind of device if there is one, and otherwise starts a new run.
        judging: judge the images on the validation split during the run. The set stays the same, bit for bit.
        watcher: follows the validation curve and may stop the run.
        log: tools that also receive the metrics, images and settings: `tensorboard`, `mlflow` or `wandb`. A project
            other than the default is written as `wandb:PROJECT`. If a tool fails, it is left out and the run goes on.
        progress: receives the bars and messages.

    Raises Interrupted if the user asks to stop, and Pruned if the watcher stops the run; everything is saved before.
    Raises Diverged if an outer step fails; the last good state is saved before. Raises ConfigError if the call cannot
    continue the run `continuing`, if there are no validation images to judge on, or if a logger cannot be used.
    """
    wanted = loggers.parse(log)
    _refuse_other_file(Path(registry), progress)
    data = load_data(preset.config, data_root=data_root, device=device, progress=progress)
    check_request(preset.config, data)
    judging = None if judging is None else _checked(judging, preset, data)
    with opened(registry, device=device, data_root=data_root, progress=progress, must_exist=False) as workspace:
        job = _job(workspace, preset, data, seed, start_from, parent)
        continue_former(workspace.store, job.key_facts, progress)
        check_continues(workspace.store, continuing, job)
        checkpoint = Checkpoint(job.key)
        with checkpoint.held():
            before = workspace.store.find_run(job.key)
            fresh = fresh and _dropped(checkpoint, before, since)
            stored = None if fresh else _stored(job, before, workspace.store, judging)
            judge = None if judging is None else Judge(judging, job, progress, watcher)
            return stored or _carry_out(
                job, workspace, checkpoint, before, judge, wanted, fresh=fresh, by_id=continuing
            )


def _job(
    workspace: Workspace, preset: Preset, data: ImageData, seed: int, start_from: str | None, parent: str | None
) -> Job:
    return Job(
        preset=preset,
        data=data,
        seed=seed,
        device=workspace.device,
        store=workspace.store,
        start=None if start_from is None else find_start(start_from, preset, workspace.store),
        parent=parent,
    )


def _dropped(checkpoint: Checkpoint, before: RunRecord | None, since: str | None) -> bool:
    """Remove the saved state for a fresh start, and return True.

    If the run has worked since the time `since`, nothing is removed and False is returned.
    """
    if since is not None and before is not None and before.updated >= since:
        return False
    checkpoint.remove()
    return True


def _refuse_other_file(registry: Path, progress: Progress) -> None:
    """Raise RegistryError if the file exists but is no registry. It is called before the data set is read."""
    if registry.exists():
        writable_registry(registry, progress).close()


def _checked(judging: Judging, preset: Preset, data: ImageData) -> Judging:
    """Return `judging` with only the augmentations that suit the data set.

    Raises ConfigError if there are no validation images to judge on.
    """
    suited = judging.on(preset.config.dataset)
    suited.check(preset.config, data)
    return suited


def _stored(job: Job, before: RunRecord | None, store: Registry, judging: Judging | None) -> CondensationResult | None:
    """Return the stored sets of the run `before`, or None if there is work to do.

    There is work to do if `before` is None or not finished, or if its images were not judged as `judging` asks.
    """
    if before is None or before.status != "done" or not before.set_id:
        return None
    if judging is not None and before.config.get("judging") != judging.to_dict():
        return None
    record = store.find(before.set_id)
    made = [each for each in store.sets(dataset=job.preset.config.set_dataset) if each.run_id == before.id]
    return CondensationResult(
        record=record, run=before.id, new=False, siblings=tuple(other for other in made if other.id != record.id)
    )


def _carry_out(
    job: Job,
    workspace: Workspace,
    checkpoint: Checkpoint,
    before: RunRecord | None,
    judge: Judge | None,
    wanted: Sequence[Wanted],
    *,
    fresh: bool,
    by_id: str | None,
) -> CondensationResult:
    """Take the outer steps that are left, store the sets, and return them.

    Args:
        before: the stored run with the same key; None if there is none.
        wanted: the loggers that were asked for.
        by_id: the id of the run, if the caller continues the run by its id; otherwise None. With an id, the stored
            command of the run is kept, because the command of this process does not say what the run condenses.
    """
    store, progress = workspace.store, workspace.progress
    saved = _saved_state(job, checkpoint, before, fresh, progress)
    done = int(saved["step"]) if saved else 0
    progress.say(opening_line(job.preset, job.data, job.device, steps_done=done))
    condensation = _begin(job, workspace)
    _say_notes(condensation, {} if before is None or saved is None else before.config.get("notes", {}), progress)
    run = store.start_run(
        **job.facts(condensation.notes),
        environment=environment(),
        command=" ".join(sys.argv),
        keep_command=by_id is not None,
    )
    _note_judging(store, run, judge)
    if saved is not None:
        condensation.restore(saved)
        progress.say(f"continuing from outer step {condensation.step} of {condensation.steps}")
    logged = _loggers(wanted, job, progress, run, condensation.step)
    log = RunLog(store, run, progress, logged)
    with _ending(store, run, condensation, logged):
        store.drop_metrics_from(run, condensation.step)
        log.restore(saved or {})
        if judge is not None:
            judge.restore(saved or {})
        run_outer_steps(condensation, checkpoint, workspace, log, judge)
        result = _store_sets(job, condensation, store, run, judge)
        store.finish_run(run, status="done", set_id=result.record.id)
    checkpoint.remove()
    return result


def _loggers(wanted: Sequence[Wanted], job: Job, progress: Progress, run: str, step: int) -> Loggers:
    """Return the loggers of a run of which `step` outer steps are done."""
    facts = job.facts({})
    about = {name: facts[name] for name in ("dataset", "method", "ipc", "seed", "profile", "device")}
    settings = {**about, "preset": job.preset.name, "run": run, "condense": job.preset.config.to_dict()}
    return Loggers(wanted, progress, run=run, first=step, settings=settings, describe=job.describe)


def _saved_state(
    job: Job, checkpoint: Checkpoint, before: RunRecord | None, fresh: bool, progress: Progress
) -> Mapping[str, torch.Tensor] | None:
    """Return the state to continue from: the saved state of this run, or else the state of `job.start`.

    None means that the run begins at outer step 0. `before` is the stored run with the same key. Raises RegistryError
    if the state of `job.start` is needed and its file is gone.
    """
    saved = None if fresh else checkpoint.load(progress)
    if saved is not None and before is not None and before.status == "done":
        progress.say("the saved state belongs to no unfinished run of this registry; starting over")
        saved = None
    if saved is not None and before is None:
        progress.say("the registry does not know the run of the saved state: what the run measured before is lost")
    if saved is None and before is not None and before.status != "done" and before.seconds > 0 and not fresh:
        progress.say(f"the saved state of run {before.id} is gone: it starts over from outer step 0")
    if saved is not None or job.start is None:
        return saved
    if job.start.state is None:
        raise RegistryError(f"run {job.start.run} left no saved state to continue from; start over without --from")
    # The validation curve and the unstored measurements in this state belong to the other run, so they are left out.
    ours = {name: tensor for name, tensor in job.start.state.items() if not name.startswith(STATE)}
    return {name: tensor for name, tensor in ours.items() if name != WAITING}


def _note_judging(store: Registry, run: str, judge: Judge | None) -> None:
    """Store with the run how its images are judged, and the facts of the watcher that follows the curve.

    It is stored at every start, because a session may judge in another way than the session before it.
    """
    facts: dict[str, Any] = {"judging": None} if judge is None else judge.about()
    if judge is not None and judge.watcher is not None:
        facts["tuning"] = dict(judge.watcher.facts)
    stored = store.run(run).config
    if any(stored.get(name) != value for name, value in facts.items()):
        store.amend_run(run, **facts)


def _begin(job: Job, workspace: Workspace) -> Condensation:
    """Return the condensation at outer step 0. Missing experts and a missing teacher are trained first."""
    config = job.preset.config
    task = Task(
        data=job.data,
        ipc=config.ipc,
        parametrisation=config.decoding,
        architecture=config.architecture,
        seed=Seed(job.seed),
        device=job.device,
        experts=prepare_experts(config, job.data, device=str(job.device), progress=workspace.progress),
        teacher=prepare_teacher(config, job.data, device=str(job.device), progress=workspace.progress),
        notify=AmendedNotes(key=job.key, workspace=workspace),
    )
    return METHODS.get(config.method).begin(task, config.settings)


def _say_notes(condensation: Condensation, earlier: Mapping[str, str], progress: Progress) -> None:
    """Show the notes of the condensation, which say how it is computed.

    `earlier` holds the notes of the previous session of the run. If one of them was different, the user is warned.
    """
    for name, note in condensation.notes.items():
        progress.say(note)
        if earlier.get(name, note) != note:
            progress.say(
                f"the session before ran {earlier[name]}: "
                "the result may differ in round-off from that of a run without a stop"
            )


@dataclass(frozen=True, kw_only=True)
class AmendedNotes:
    """A function that shows a message of a condensation to the user, and adds it to every note of the run.

    The notes are stored when the run starts, so a later event can make them wrong. For example, a note says that a step
    is compiled, and then its compilation fails. If the run has not started yet, the message is only shown.
    """

    key: str  # the key of the run
    workspace: Workspace

    def __call__(self, message: str) -> None:
        """Show `message`, and store it if the run has started."""
        self.workspace.progress.say(message)
        store = self.workspace.store
        run = store.find_run(self.key)
        if run is not None and run.status == "running":
            store.amend_run(run.id, notes={name: f"{note}; {message}" for name, note in run.config["notes"].items()})


def _store_sets(
    job: Job, condensation: Condensation, store: Registry, run: str, judge: Judge | None
) -> CondensationResult:
    """Store the set that the condensation has made, and its siblings, and return their records."""
    known = {record.id for record in store.sets()}
    outcome = condensation.result()
    sets = [job.describe(outcome), *(job.describe(each, sibling=name) for name, each in outcome.siblings.items())]
    if judge is not None and (best := judge.best_set()) is not None:
        sets.append(best)
        store.amend_run(run, **judge.about())
    record, *siblings = (store.add_set(each, run=run) for each in sets)
    return CondensationResult(record=record, run=run, new=record.id not in known, siblings=tuple(siblings))


@contextmanager
def _ending(store: Registry, run: str, condensation: Condensation, loggers: Loggers) -> Iterator[None]:
    """Run the body of the `with`, then close the loggers. If the body fails, store how the run ended.

    The error of the body is raised again. If outer steps are done, the messages of Diverged and RegistryError also say
    how to continue from the last saved state. If storing how the run ended fails too, that second error is ignored.
    """
    ending: Ending = "failed"
    try:
        yield
        ending = "done"
    except Interrupted as stop:
        ending = "interrupted"
        with suppress(RegistryError, Interrupted):
            store.finish_run(run, status="interrupted", message=str(stop) if isinstance(stop, Pruned) else "")
        raise
    except Exception as error:
        with suppress(RegistryError, Interrupted):
            store.finish_run(run, status="failed", message=str(error))
        if isinstance(error, RegistryError) and condensation.step:
            raise type(error)(
                f"{error} (the state after outer step {condensation.step} of {condensation.steps} is saved; then the "
                "same command continues from there)"
            ) from error
        if not isinstance(error, Diverged) or not condensation.step:
            raise
        raise Diverged(
            f"{error}; the state before it is saved, continue from there under other settings with --from {run}",
            measured=error.measured,
        ) from error
    finally:
        loggers.close(ending)
