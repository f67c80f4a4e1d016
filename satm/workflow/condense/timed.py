"""Times whole outer steps of a condensation that differentiates no inner loop, for `satm plan`."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch

from satm.machine.ram import measured_peak
from satm.methods import Condensation

FEWEST, MOST, SECONDS = 3, 20, 3.0  # outer steps are timed for about so many seconds, but at least and at most so many


class Timed(NamedTuple):
    """The measured cost of an outer step."""

    seconds: float  # the median over the timed steps: one step that another job holds up does not count
    peak_bytes: float | None  # the peak above the memory before the first of all steps; None: it cannot be measured


def timed_steps(condensation: Condensation, device: torch.device) -> Timed:
    """Do a few outer steps of `condensation`, and return what they cost. The condensation moves on by these steps.

    The first step is not timed, because code may be compiled in it. Its memory is counted, because the largest batches
    and all buffers exist from the first step on.
    """
    spent: list[float] = []
    with measured_peak(device) as peak:
        condensation.advance()
        while len(spent) < FEWEST or (len(spent) < MOST and sum(spent) < SECONDS):
            started = time.perf_counter()
            condensation.advance()
            spent.append(time.perf_counter() - started)
    return Timed(statistics.median(spent), None if peak.bytes is None else float(peak.bytes))
