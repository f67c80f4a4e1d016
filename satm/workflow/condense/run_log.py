"""The measurements of a run on their way to the registry: a busy registry does not stop the run."""

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
    """The measurements and seconds that the registry has not stored yet.

    The measurements are also in the saved state; the seconds are lost if the process is killed.
    """

    def __init__(self, store: Registry, run: str, progress: Progress, loggers: Loggers | None = None) -> None:
        self._store, self._run, self._progress, self._loggers = store, run, progress, loggers
        self._rows: list[tuple[int, str, float]] = []
        self._counted = time.monotonic()  # the seconds before this are stored
        self._said = False

    def add(self, step: int, measured: Mapping[str, float]) -> None:
        """Take in what outer step `step` has measured. Steps count from 0."""
        self._rows.extend((step, name, float(value)) for name, value in measured.items())
        if self._loggers is not None:
            self._loggers.add(step, measured)

    def picture(self, condensation: Condensation) -> None:
        """Show the loggers the images, if it is time for that."""
        if self._loggers is not None:
            self._loggers.picture(condensation)

    def state(self) -> dict[str, torch.Tensor]:
        """The measurements that wait, for a saved state: JSON as bytes, uint8 [length]."""
        return {WAITING: torch.tensor(list(json.dumps(self._rows).encode()), dtype=torch.uint8)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take in the measurements that waited when `state` was saved."""
        if WAITING in state:
            rows = json.loads(bytes(state[WAITING].tolist()))
            self._rows.extend((int(step), str(name), float(value)) for step, name, value in rows)

    def offer(self) -> None:
        """Store what waits. If another process holds the registry, it goes on waiting and tells the user once.

        Raises RegistryError if the registry cannot be written.
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
        """Store what waits, and wait for the registry as long as it takes.

        Raises RegistryError if the registry cannot be written, Interrupted if the user stops the wait.
        """
        self._write(wait=True)

    def _write(self, *, wait: bool) -> None:
        now = time.monotonic()
        self._store.add_metrics(self._run, self._rows, seconds=now - self._counted, wait=wait)
        self._rows.clear()
        self._counted = now
        self._said = False
