"""Small tasks, which worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from satm.errors import Interrupted, SatmError
from satm.workflow.fan_out import Work


def folder(work: Work) -> Path:
    """Where the tasks leave their traces."""
    return work.registry.parent


@dataclass(frozen=True)
class Write:
    """Writes what it works with to a file of its name, or raises."""

    name: str
    error: Exception | None = None

    def run(self, work: Work) -> None:
        import torch

        if self.error:
            raise self.error
        facts = [os.getpid(), torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES"), work.device]
        (folder(work) / self.name).write_text(" ".join(map(str, facts)))


@dataclass(frozen=True)
class Die:
    """Kills its own process the first `deaths` times, and is done after that."""

    name: str
    deaths: int

    def run(self, work: Work) -> None:
        attempts = folder(work) / f"{self.name}.attempts"
        before = int(attempts.read_text()) if attempts.exists() else 0
        attempts.write_text(str(before + 1))
        if before < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Count:
    """Counts in a file until it is asked to stop. It goes on where it stopped, and is done at `end`."""

    name: str
    end: int = 10_000

    def run(self, work: Work) -> None:
        file = folder(work) / self.name
        done = int(file.read_text()) if file.exists() else 0
        (folder(work) / f"{self.name}.pid").write_text(str(os.getpid()))
        with work.progress.bar("count", self.end, done=done) as bar:
            while done < self.end:
                done += 1
                file.write_text(str(done))
                bar.advance(1, at=float(done))
                if work.progress.stopping():
                    raise Interrupted(f"stopped at {done}")
                time.sleep(0.02)


@dataclass(frozen=True)
class Meet:
    """Is done when the other tasks are at work too."""

    name: str
    together: int

    def run(self, work: Work) -> None:
        (folder(work) / f"{self.name}.here").touch()
        ends = time.monotonic() + 60
        while len(list(folder(work).glob("*.here"))) < self.together:
            if time.monotonic() > ends:
                raise SatmError("the others did not come")
            time.sleep(0.02)
