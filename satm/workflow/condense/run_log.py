"""Collects the measurements of a run and stores them in the registry.

While another process holds the registry, the measurements are kept in memory and the run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import torch

from registry import Registry
from satm.errors import RegistryBusy
from satm.methods import Condensation
from satm.progress import Progress
from satm.workflow.logging import Loggers

WAITING = "waiting_measurements"  # the name of the tensor of unstored measurements in a saved state


class RunLog:
    """The measurements and the working seconds of a run that are not in the registry yet.

    The measurements are also a part of the saved state (the checkpoint). So if the process is killed, those of the last
    checkpoint are not lost; the working seconds since the last write to the registry are. The measurements also go to
    `loggers`, if there are any.
    """

    def __init__(self, store: Registry, run: str, progress: Progress, loggers: Loggers | None = None) -> None:
        self._store, self._run, self._progress, self._loggers = store, run, progress, loggers
        self._rows: list[tuple[int, str, float]] = []
        self._counted = time.monotonic()  # the time until which the seconds are stored
        self._said = False  # whether a message has said that the registry is in use

    def add(self, step: int, measured: Mapping[str, float]) -> None:
        """Add the metrics that outer step `step` has measured, by name. The first step is 0."""
        self._rows.extend((step, name, float(value)) for name, value in measured.items())
        if self._loggers is not None:
            self._loggers.add(step, measured)

    def picture(self, condensation: Condensation) -> None:
        """Send the images to the loggers. The loggers decide whether a new picture is due."""
        if self._loggers is not None:
            self._loggers.picture(condensation)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the measurements that are not stored yet, for the saved state: JSON bytes, a tensor uint8 [length]."""
        return {WAITING: torch.tensor(list(json.dumps(self._rows).encode()), dtype=torch.uint8)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Add the measurements that were not stored yet when `state` was saved."""
        if WAITING in state:
            rows = json.loads(bytes(state[WAITING].tolist()))
            self._rows.extend((int(step), str(name), float(value)) for step, name, value in rows)

    def offer(self) -> None:
        """Store all measurements now, if the registry is free.

        If another process holds the registry, they stay in memory, and one message says so. Raises RegistryError if
        the registry cannot be written.
        """
        try:
            self._write(wait=False)
        except RegistryBusy:
            if not self._said:
                self._progress.say(
                    f"{self._store.path} is in use by another process: measurements wait in memory, the run goes on"
                )
            self._said = True

    def settle(self) -> None:
        """Store all measurements, and wait as long as another process holds the registry.

        Raises RegistryError if the registry cannot be written, Interrupted if the user stops the wait.
        """
        self._write(wait=True)

    def _write(self, *, wait: bool) -> None:
        now = time.monotonic()
        self._store.add_metrics(self._run, self._rows, seconds=now - self._counted, wait=wait)
        self._rows.clear()
        self._counted = now
        self._said = False
