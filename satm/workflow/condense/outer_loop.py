"""The outer steps of a session: each is measured, and the work can be stopped after any of them."""

from __future__ import annotations

import time
from contextlib import suppress

import torch

from satm.errors import Diverged, Interrupted, RegistryError, SatmError
from satm.methods import Condensation
from satm.progress import Progress, spell_seconds
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.events import Events
from satm.workflow.condense.meter import Meter
from satm.workflow.condense.run_log import RunLog
from satm.workflow.workspace import Workspace

SAVE_SECONDS = 60.0  # between checkpoints: what a crash can cost


def run_outer_steps(condensation: Condensation, checkpoint: Checkpoint, workspace: Workspace, log: RunLog) -> None:
    """Take all outer steps that are left. The state is saved every minute, at a stop, at a failure and at the end.

    The state is saved first, then the measurements are stored. While another process holds the registry they wait in
    `log`; only at the end this waits for the registry. Raises Interrupted if the user asks to stop, SatmError if an
    outer step fails or does not fit the memory of the device, RegistryError if the registry cannot be written.
    """
    progress = workspace.progress
    events, meter = Events(progress), Meter(workspace.device)
    last_save = time.monotonic()

    def save() -> None:
        nonlocal last_save
        checkpoint.save({**condensation.state(), **log.state()})
        last_save = time.monotonic()

    said = False
    with progress.bar("condense", condensation.steps, done=condensation.step) as bar:
        while condensation.step < condensation.steps:
            step = condensation.step
            try:
                measured = condensation.advance()
            except (SatmError, torch.OutOfMemoryError) as error:
                log.add(step, error.measured if isinstance(error, Diverged) else {})
                save()
                with suppress(RegistryError):  # the error of the step is what the user needs to know
                    log.offer()
                if isinstance(error, SatmError):
                    raise
                raise SatmError(
                    f"outer step {step + 1} does not fit the memory of {workspace.device}, all before it is saved; "
                    "lower window (satm plan --memory says which fits), or take engine=replay"
                ) from error
            meter.step()
            said = said or _say_left(meter, condensation, progress)
            events.see(step, measured)
            log.add(step, measured)
            bar.advance(1, **{name: measured[name] for name in ("loss", "step_size") if name in measured})
            if condensation.step == condensation.steps:
                log.add(step, meter.close())
                save()
                break
            stopping = progress.stopping()
            if stopping or time.monotonic() - last_save > SAVE_SECONDS:
                save()
                log.offer()
            if stopping:
                raise Interrupted(
                    f"stopped after outer step {condensation.step} of {condensation.steps}, all saved; "
                    "the same command continues from there"
                )
    log.settle()
    events.close()


def _say_left(meter: Meter, condensation: Condensation, progress: Progress) -> bool:
    """Say once how long the outer steps that are left will take, as soon as enough of them are measured."""
    seconds, left = meter.step_seconds, condensation.steps - condensation.step
    if seconds is not None and left:
        progress.say(f"{left} outer steps left of {seconds:.2g} s each: about {spell_seconds(left * seconds)}")
    return seconds is not None
