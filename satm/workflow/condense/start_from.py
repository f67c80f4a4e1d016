"""Continues from the saved state of another run under other settings: the way out of a run that diverged."""

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

    run: str  # its id
    state: Mapping[str, torch.Tensor] | None
    """None if the file is gone. Then only a run that already began can continue."""
    departure: str  # what the new run says about its first outer steps


def find_start(reference: str, preset: Preset, store: Registry) -> Start:
    """The state of the unfinished run whose id begins with `reference`.

    Raises RegistryError if there is not exactly one such run, ConfigError if `preset` differs from the preset of that
    run in more than the settings of the method.
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
    changed = [
        f"{name} = {theirs['settings'].get(name)}"
        for name, value in ours["settings"].items()
        if theirs["settings"].get(name) != value
    ]
    return Start(
        run=run.id,
        state=state,
        departure=f"outer steps 1 to {step} made by run {run.id} with {', '.join(changed) or 'the same settings'}",
    )
