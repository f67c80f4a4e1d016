"""The state of an unfinished run on disk, as a dictionary of tensors. The last two states are kept."""

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
    """The saved states of the run `key`: the newest one, and the one that was saved before it.

    They are in `SATM_HOME/runs/<key>.safetensors` and `<key>.previous.safetensors`. A lock, `<key>.lock`, ensures that
    only one process at a time continues the run.
    """

    def __init__(self, key: str) -> None:
        self.path: Path = home() / "runs" / f"{key}.safetensors"
        self.previous = self.path.with_name(f"{key}.previous.safetensors")

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block in which this process holds the lock of the run. Raises Busy if another process holds it."""
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
        """The saved states that are not damaged, newest first. `progress` shows which file is damaged.

        Raises SatmError if a file may not be read.
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
        """The newest saved state that is not damaged, or None if no state is saved.

        Raises SatmError if states are saved but all are damaged, or if a file may not be read.
        """
        found = next(self.states(progress), None)
        if found is None and (self.path.exists() or self.previous.exists()):
            raise SatmError(f"the saved states {self.path} and the one before it are damaged; start over with --fresh")
        return found

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Save `state`, so that it survives a crash. The state that was the newest becomes the previous state.

        If that state is damaged, the previous state stays as it is.
        """
        keep(self.path, state, before=self._step_back)

    def _step_back(self) -> None:
        try:
            whole = _read(self.path) is not None
        except DamagedFile:
            whole = False  # a damaged state must not replace the previous state
        if whole:
            os.replace(self.path, self.previous)

    def remove(self) -> None:
        """Remove both saved states."""
        # The previous state is removed first. So if the process is killed in between, the newest state is left, and not
        # the previous one.
        self.previous.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _read(path: Path) -> Mapping[str, torch.Tensor] | None:
    with opened(path) as file:
        return None if file is None else file.tensors()
