"""The state of an unfinished run on disk: a dictionary of tensors, in two generations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from satm.errors import Busy, DamagedFile, SatmError
from satm.home import held_now, home
from satm.kept import keep, opened
from satm.progress import SILENT, Progress


class Checkpoint:
    """The files `SATM_HOME/runs/<key>.safetensors` and `<key>.previous.safetensors`: the newest state, the one before.

    A lock, `<key>.lock`, lets only one process at a time continue a run.
    """

    def __init__(self, key: str) -> None:
        self.path: Path = home() / "runs" / f"{key}.safetensors"
        self.previous = self.path.with_name(f"{key}.previous.safetensors")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of this run. Raises Busy if another process holds it."""
        from filelock import Timeout

        with ExitStack() as stack:
            try:
                stack.enter_context(held_now(lock := self.path.with_suffix(".lock")))
            except Timeout:
                raise Busy(
                    "the same command is running in another process; wait for it or change --seed", str(lock)
                ) from None
            yield

    def states(self, progress: Progress = SILENT) -> Iterator[Mapping[str, torch.Tensor]]:
        """The saved states that are whole, newest first. `progress` says which file is damaged.

        Raises SatmError if there is no permission to read one.
        """
        for path in (self.path, self.previous):
            try:
                found = _read(path)
            except DamagedFile as error:
                progress.say(f"the saved state {error.path} is damaged ({error.reason}) and is not used")
                continue
            if found is not None:
                yield found

    def load(self, progress: Progress = SILENT) -> Mapping[str, torch.Tensor] | None:
        """The newest saved state that is whole, or None if nothing is saved.

        Raises SatmError if something is saved and none of it is whole, or if it cannot be read.
        """
        found = next(self.states(progress), None)
        if found is None and (self.path.exists() or self.previous.exists()):
            raise SatmError(f"the saved states {self.path} and the one before it are damaged; start over with --fresh")
        return found

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Save a new state, durably. The newest one becomes the one before."""
        keep(self.path, state, before=self._step_back)

    def _step_back(self) -> None:
        try:
            whole = _read(self.path) is not None
        except DamagedFile:
            whole = False  # it must not replace the one before
        if whole:
            os.replace(self.path, self.previous)

    def remove(self) -> None:
        """Remove both saved states."""
        # The older one first: if this is killed in between, no run continues from an outdated state.
        self.previous.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> Mapping[str, torch.Tensor] | None:
    with opened(path) as file:
        return None if file is None else file.tensors()
