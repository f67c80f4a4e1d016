"""Finds the saved state of another run, so that a new run can begin there under other settings.

This is how a user continues from a run that diverged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from registry import Registry
from satm.errors import ConfigError, RegistryError
from satm.presets import Preset
from satm.workflow.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Start:
    """The saved state of another run, at which a new run begins."""

    run: str  # the id of the other run
    state: Mapping[str, torch.Tensor] | None
    """The saved tensors by name; None if the file is gone. Without the file no new run can begin at this state, but a
    run that began at it earlier can continue from its own saved state."""
    departure: str  # a sentence stored with the new run: which run made its first outer steps, with which settings


def find_start(reference: str, preset: Preset, store: Registry) -> Start:
    """Return the saved state of the run with an id that begins with `reference`.

    `preset` is the preset of the new run. Raises RegistryError if no run or more than one run has such an id. Raises
    ConfigError if `preset` differs from the preset of that run in more than the settings of the method.
    """
    runs = [run for run in store.runs(kind="condense") if run.id.startswith(reference)]
    if len(runs) != 1:
        raise RegistryError(
            f"{len(runs)} condensations have an id that begins with {reference!r}, expected one; "
            "see: satm query \"select id, status, message from runs where kind = 'condense'\""
        )
    run = runs[0]
    theirs, ours = run.config["condense"], preset.config.to_dict()
    names = (ours.keys() | theirs.keys()) - {"settings"}
    other = sorted(name for name in names if ours.get(name) != theirs.get(name))
    if other:
        raise ConfigError(
            f"run {run.id} differs in {', '.join(f'{name} ({theirs.get(name)!r})' for name in other)}; "
            "only the method's own settings may change on the way"
        )
    state = Checkpoint(run.key).load()
    step = "?" if state is None else int(state["step"])
    before, after = theirs["settings"], ours["settings"]
    # A setting that was added later is not in a dictionary in which it has its default value.
    changed = [
        f"{name} = {before.get(name, 'its default')}"
        for name in (*after, *(name for name in before if name not in after))
        if before.get(name) != after.get(name)
    ]
    return Start(
        run=run.id,
        state=state,
        departure=f"outer steps 1 to {step} made by run {run.id} with {', '.join(changed) or 'the same settings'}",
    )
