"""Takes the outer steps of a condensation. Each step is measured, and the user can stop the work after any step.

A session is the part of a run that one process works on without a stop.
"""

from __future__ import annotations

import time
from contextlib import suppress

import torch

from satm.errors import Diverged, Interrupted, Pruned, RegistryError, SatmError
from satm.methods import Condensation
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.progress import Bar, spell_seconds
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.condense.events import Events
from satm.workflow.condense.judging import CURVE, Judge
from satm.workflow.condense.meter import Meter
from satm.workflow.condense.run_log import RunLog
from satm.workflow.workspace import Workspace

SAVE_SECONDS = 60.0  # the time between two checkpoints; a crash loses about this much work at most
DRAWN = {
    "loss": "loss",
    "step_size": "step size α",
    "hypergradient_norm": "hypergradient norm",
    "relative_rise": "relative sharpness",
}
"""The metrics of an outer step that are drawn as curves: the name of the metric, and the title of its curve."""
ACCURACY = "validation accuracy"  # the title of the validation curve


def run_outer_steps(
    condensation: Condensation,
    checkpoint: Checkpoint,
    workspace: Workspace,
    log: RunLog,
    judge: Judge | None = None,
) -> None:
    """Take all outer steps that are left.

    The state is saved about every minute, after each judging, at a stop, at a failure and at the end. Each time the
    state is saved first, and then the measurements are stored in the registry. While another process holds the
    registry, the measurements wait in `log`, and the outer steps go on. Only after the last step does this function
    wait until the registry is free.

    Raises Interrupted if the user asks to stop, Pruned if the watcher of `judge` asks to stop, SatmError if an outer
    step fails or does not fit the memory of the device, RegistryError if the registry cannot be written.
    """
    session = _Session(condensation, checkpoint, workspace, log, judge)
    with workspace.progress.bar("condense", condensation.steps, done=condensation.step) as bar:
        session.draw_earlier(bar)
        session.judge_if_due(bar)
        log.picture(condensation)
        while condensation.step < condensation.steps:
            session.step(bar)
            session.judge_if_due(bar)
            log.picture(condensation)
    log.settle()
    session.events.close()


class _Session:
    """One session of outer steps, with the objects that measure, judge and store them."""

    def __init__(
        self,
        condensation: Condensation,
        checkpoint: Checkpoint,
        workspace: Workspace,
        log: RunLog,
        judge: Judge | None,
    ) -> None:
        self.condensation, self.checkpoint, self.workspace, self.log = condensation, checkpoint, workspace, log
        self.judge = judge
        self.events, self.meter = Events(workspace.progress), Meter(workspace.device)
        self._last_save = time.monotonic()
        self._said = False  # whether a message has said how long the steps that are left will take

    def save(self) -> None:
        """Save a checkpoint: the condensation, the measurements that are not stored yet, and the validation curve."""
        judged = {} if self.judge is None else self.judge.state()
        self.checkpoint.save({**self.condensation.state(), **self.log.state(), **judged})
        self._last_save = time.monotonic()

    def step(self, bar: Bar) -> None:
        """Take one outer step and show what it measured.

        The state is saved after the last step, if the last save is `SAVE_SECONDS` old, or if the user asks to stop.

        Raises Interrupted if the user asks to stop, and SatmError if the step fails.
        """
        condensation, log, progress = self.condensation, self.log, self.workspace.progress
        step = condensation.step
        try:
            measured = condensation.advance()
        except (SatmError, torch.OutOfMemoryError) as error:
            log.add(step, error.measured if isinstance(error, Diverged) else {})
            self._save_what_is_there()
            if isinstance(error, SatmError):
                raise
            raise SatmError(
                f"outer step {step + 1} does not fit the memory of {self.workspace.device}, all before it is saved; "
                + _smaller(condensation)
            ) from error
        self.meter.step()
        self._say_left()
        self.events.see(step, measured)
        log.add(step, measured)
        bar.draw({shown: measured[name] for name, shown in DRAWN.items() if name in measured})
        bar.advance(1, **{name: measured[name] for name in ("loss", "step_size") if name in measured}, **self._newest())
        if condensation.step == condensation.steps:
            log.add(step, self.meter.close())
            self.save()
            return
        stopping = progress.stopping()
        if stopping or time.monotonic() - self._last_save > SAVE_SECONDS:
            self.save()
            log.offer()
        if stopping:
            raise Interrupted(
                f"stopped after outer step {condensation.step} of {condensation.steps}, all saved; "
                "the same command continues from there"
            )

    def _say_left(self) -> None:
        """Tell the user once how long the remaining outer steps will take, as soon as enough steps are measured."""
        seconds, left = self.meter.step_seconds, self.condensation.steps - self.condensation.step
        if self._said or seconds is None:
            return
        self._said = True
        if left:
            judged = "" if self.judge is None else ", without the judging"
            self.workspace.progress.say(
                f"{left} outer steps left of {seconds:.2g} s each: about {spell_seconds(left * seconds)}{judged}"
            )

    def draw_earlier(self, bar: Bar) -> None:
        """Draw the points of the validation curve that earlier sessions measured."""
        for point in () if self.judge is None else self.judge.points:
            bar.draw({ACCURACY: point.mean})

    def judge_if_due(self, bar: Bar) -> None:
        """Add a point to the validation curve, if one is due. It is stored as a metric of the outer step done last.

        Raises Interrupted if the user asks to stop during the judging, and Pruned if the watcher of `judge` asks to
        stop after it.
        """
        judge, condensation = self.judge, self.condensation
        if judge is None or not judge.due(condensation):
            return
        started = time.monotonic()
        try:
            point = judge.judge(condensation)
        except (SatmError, torch.OutOfMemoryError) as error:
            self._save_what_is_there()
            if not isinstance(error, Interrupted):
                raise
            raise Interrupted(
                f"stopped while it was judged after outer step {condensation.step} of {condensation.steps}, all saved; "
                "the same command continues from there"
            ) from None
        bar.draw({ACCURACY: point.mean})
        self.meter.leave_out(time.monotonic() - started)
        self.log.add(max(0, point.step - 1), point.metrics())
        self.save()
        self.log.offer()
        if reason := judge.reason_to_stop():
            raise Pruned(reason)

    def _newest(self) -> dict[str, float]:
        """Return the newest validation accuracy to show beside the bar, by its name; empty before the first point."""
        points = [] if self.judge is None else self.judge.points
        return {CURVE: points[-1].mean} if points else {}

    def _save_what_is_there(self) -> None:
        """Save the state after an error, and store the measurements if the registry can be written.

        An error of the registry is ignored here, because the user needs to see the error that came first.
        """
        self.save()
        with suppress(RegistryError):
            self.log.offer()


def _smaller(condensation: Condensation) -> str:
    """Return advice for the user if an outer step does not fit the memory: which settings make it smaller."""
    if not isinstance(condensation, TrajectoryCondensation):
        return "lower batch_real or the IPC, or take a smaller network (--arch)"
    if not condensation.config.windows:
        return "lower inner_steps, or take engine=replay"
    return "lower window (satm plan --memory says which fits), or take engine=replay"
