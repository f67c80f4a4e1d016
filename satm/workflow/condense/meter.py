"""Measures the mean time and the peak memory of the outer steps of a session.

A session is the part of a run that one process works on without a stop. Its first outer step is not measured, because
the network may be compiled in it.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

from satm.machine.ram import Peak, measured_peak

# A mean time is given only after this number of steps and this number of seconds, so that it is not that of one slow
# step.
SURE_STEPS, SURE_SECONDS = 3, 2.0
STEP_SECONDS, PEAK_BYTES = "outer_step_seconds", "peak_bytes"  # the names of the two metrics


class Meter:
    """Measures time and memory, beginning at the end of the first outer step."""

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
        """Do not count `seconds`, the time of other work (such as judging) between two outer steps.

        After such work no peak memory is reported, because the other work may have caused the peak.
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

        `STEP_SECONDS` is the mean seconds of a step. `PEAK_BYTES` is the peak memory minus the memory of the process
        after the first step. It is left out if the system cannot report it, or if other work was done between steps.
        If no step was measured, the dictionary is empty.
        """
        if self._peak is None or not self._steps:
            return {}
        self._measuring.__exit__(None, None, None)
        found = {STEP_SECONDS: (self._last - self._started) / self._steps}
        unknown = self._peak.bytes is None or self._interrupted
        return found if unknown else found | {PEAK_BYTES: float(self._peak.bytes or 0)}
