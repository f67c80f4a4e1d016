"""The state of an unfinished run on disk: a dictionary of tensors. A file is written completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from satm.errors import SatmError
from satm.home import home, make_folder, write_atomically


class Checkpoint:
    """The file `SATM_HOME/runs/<key>.safetensors`, and a lock: only one process at a time continues a run."""

    def __init__(self, key: str) -> None:
        self.path: Path = home() / "runs" / f"{key}.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of this run. Raises SatmError if another process holds it."""
        from filelock import FileLock, Timeout

        make_folder(self.path.parent)
        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=0):
                yield
        except Timeout:
            raise SatmError("the same command is running in another process; wait for it or change --seed") from None

    def load(self) -> Mapping[str, torch.Tensor] | None:
        """The saved state, or None if there is none. Raises SatmError for a damaged file."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not self.path.exists():
            return None
        try:
            return load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise SatmError(f"{self.path} cannot be read ({error}); start over with --fresh") from error

    def save(self, state: Mapping[str, torch.Tensor]) -> None:
        """Replace the saved state."""
        from safetensors.torch import save_file

        write_atomically(self.path, lambda to: save_file({k: v.contiguous() for k, v in state.items()}, to))

    def remove(self) -> None:
        """Remove the saved state."""
        self.path.unlink(missing_ok=True)
