"""Prepares and cleans up what every long command needs: CPU threads, bars, and a clean stop on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from registry.provenance import usable_cores
from satm.cli._progress import TerminalProgress
from satm.machine.allocator import keep_freed_memory


@contextmanager
def working(threads: int | None) -> Iterator[TerminalProgress]:
    """Set the number of CPU threads, let malloc keep freed memory, and yield the progress of one command.

    If `threads` is None, there is one thread for each core. The first signal (Ctrl-C or SIGTERM) asks the work to stop
    at its next safe point; the second signal ends the process at once. At the end, the number of threads and the
    reaction to signals are as before.
    """
    import torch

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or usable_cores())
    keep_freed_memory()
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
