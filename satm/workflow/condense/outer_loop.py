"""The outer steps of a session: each is measured, and the work can be stopped after any of them."""

from __future__ import annotations

import time

import torch

from satm.errors import Diverged, Interrupted, SatmError
from satm.methods import Condensation
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.events import Events
from satm.workflow.condense.meter import Meter
from satm.workflow.workspace import Workspace

SAVE_SECONDS = 60.0  # between checkpoints: what a crash can cost


def run_outer_steps(condensation: Condensation, checkpoint: Checkpoint, workspace: Workspace, run: str) -> None:
    """Take all outer steps that are left. The state is saved every minute, at a stop and at a failure.

    `run` is the id of the run that the metrics belong to. Raises Interrupted if the user asks to stop, SatmError if an
    outer step fails or does not fit the memory of the device.
    """
    store, progress = workspace.store, workspace.progress
    store.drop_metrics_from(run, condensation.step)
    started = last_save = time.monotonic()
    rows: list[tuple[int, str, float]] = []
    events, meter = Events(progress), Meter(workspace.device)

    def save() -> None:
        nonlocal last_save, started
        store.add_metrics(run, rows)
        rows.clear()
        checkpoint.save(condensation.state())
        last_save = time.monotonic()
        store.add_seconds(run, last_save - started)
        started = last_save

    with progress.bar("condense", condensation.steps, done=condensation.step) as bar:
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
                    f"outer step {step + 1} does not fit the memory of {workspace.device}, all before it is saved; "
                    "lower window (satm plan --memory says which fits), or take engine=replay"
                ) from error
            meter.step()
            events.see(step, measured)
            rows.extend((step, name, float(value)) for name, value in measured.items())
            bar.advance(1, **{name: measured[name] for name in ("loss", "step_size") if name in measured})
            if progress.stopping() and condensation.step < condensation.steps:
                save()
                raise Interrupted(
                    f"stopped after outer step {condensation.step} of {condensation.steps}, all saved; "
                    "the same command continues from there"
                )
            if time.monotonic() - last_save > SAVE_SECONDS:
                save()
    rows.extend((condensation.steps - 1, name, value) for name, value in meter.close().items())
    store.add_metrics(run, rows)
    store.add_seconds(run, time.monotonic() - started)
    events.close()
