"""Measures the outer steps of a session: mean time and peak memory, without the first step, which may compile."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import torch

from satm.machine.ram import Peak, measured_peak

SURE_STEPS, SURE_SECONDS = 3, 2.0  # measured before a time is said: one slow step must not decide it
STEP_SECONDS, PEAK_BYTES = "outer_step_seconds", "peak_bytes"


class Meter:
    """Measures from the end of the first step."""

    def __init__(self, device: torch.device) -> None:
        self._measuring: AbstractContextManager[Peak] = measured_peak(device)
        self._peak: Peak | None = None
        self._steps = 0
        self._started = self._last = 0.0

    def step(self) -> None:
        """Count an outer step that is done."""
        self._last = time.monotonic()
        if self._peak is None:
            self._peak = self._measuring.__enter__()
            self._started = time.monotonic()
        else:
            self._steps += 1

    @property
    def step_seconds(self) -> float | None:
        """Mean seconds of a step so far; None before `SURE_STEPS` steps and `SURE_SECONDS` are measured."""
        measured = self._last - self._started
        return measured / self._steps if self._steps >= SURE_STEPS and measured >= SURE_SECONDS else None

    def close(self) -> dict[str, float]:
        """By name: mean seconds of a step, and peak bytes above the loaded process if the system reports it."""
        if self._peak is None or not self._steps:
            return {}
        self._measuring.__exit__(None, None, None)
        found = {STEP_SECONDS: (self._last - self._started) / self._steps}
        return found if self._peak.bytes is None else found | {PEAK_BYTES: float(self._peak.bytes)}
