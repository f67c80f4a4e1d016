"""Measures the mean time and the peak memory of the outer steps of a session.

A session is the part of a run that one process works on without a stop. Its first outer step is not measured, because
the network may be compiled in it.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

from satm.machine.ram import Peak, measured_peak

# The least number of steps and seconds that are measured before a mean time is given, so that one slow step does not
# decide it.
SURE_STEPS, SURE_SECONDS = 3, 2.0
STEP_SECONDS, PEAK_BYTES = "outer_step_seconds", "peak_bytes"  # the names of the two metrics


class Meter:
    """Measures time and memory from the end of the first outer step."""

    def __init__(self, device: torch.device) -> None:
        self._measuring: AbstractContextManager[Peak] = measured_peak(device)
        self._peak: Peak | None = None
        self._steps = 0
        self._started = self._last = 0.0
        self._interrupted = False  # whether other work was done between two steps

    def step(self) -> None:
        """Note that an outer step has ended. The first call begins the measurement."""
        self._last = time.monotonic()
        if self._peak is None:
            self._peak = self._measuring.__enter__()
            self._started = time.monotonic()
        else:
            self._steps += 1

    def leave_out(self, seconds: float) -> None:
        """Leave out the `seconds` of other work between two outer steps.

        From then on no peak of memory is reported, because the other work may have caused it.
        """
        self._started += seconds
        self._interrupted = True

    @property
    def step_seconds(self) -> float | None:
        """The mean seconds of a step so far; None until `SURE_STEPS` steps and `SURE_SECONDS` seconds are measured."""
        measured = self._last - self._started
        return measured / self._steps if self._steps >= SURE_STEPS and measured >= SURE_SECONDS else None

    def close(self) -> dict[str, float]:
        """End the measurement and return its metrics by name.

        `STEP_SECONDS` is the mean seconds of a step. `PEAK_BYTES` is the peak memory above that of the process after
        the first step; it is left out if the system cannot report it, or if other work was done in between. Without a
        measured step the dictionary is empty.
        """
        if self._peak is None or not self._steps:
            return {}
        self._measuring.__exit__(None, None, None)
        found = {STEP_SECONDS: (self._last - self._started) / self._steps}
        unknown = self._peak.bytes is None or self._interrupted
        return found if unknown else found | {PEAK_BYTES: float(self._peak.bytes or 0)}
