"""What every long command needs around its work: threads, bars, and a clean stop on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from registry.provenance import usable_cores
from satm.cli._progress import TerminalProgress


@contextmanager
def working(threads: int | None) -> Iterator[TerminalProgress]:
    """Progress for one command, and its number of threads, which is as before at the end.

    The first signal asks the work to stop at its next safe point; a second ends it now.
    """
    import torch

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or usable_cores())
    progress = TerminalProgress()

    def stop(number: int, frame: FrameType | None) -> None:
        if progress.stopping():
            sys.exit(130)
        progress.stop("stopping at the next safe point; once more to stop at once")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress:
            yield progress
    finally:
        torch.set_num_threads(threads_before)
        for number, handler in before.items():
            signal.signal(number, handler)
