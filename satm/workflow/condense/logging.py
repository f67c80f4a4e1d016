"""Sends the metrics and images of a condensation to loggers. A logger that fails never costs the run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from satm.errors import SatmError
from satm.loggers import LoggedRun, Logger, Wanted
from satm.loggers.base import Ending, Row
from satm.methods import Condensation, Outcome
from satm.progress import Progress
from satm.report.grid import grid_pixels
from satm.synthetic import SyntheticSet

IMAGES = "synthetic_images"
PICTURES = 10  # of the images, spread over a run
SECONDS = 5.0  # between two writes: a logger may need longer for one than an outer step takes


class Loggers:
    """The loggers of one run.

    An error of a logger is said in one line, and then the run goes on without that logger. `describe` makes a set of
    the images of a moment.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        progress: Progress,
        *,
        run: str,
        first: int,
        settings: Mapping[str, Any],
        describe: Callable[[Outcome], SyntheticSet],
    ) -> None:
        self._progress, self._describe = progress, describe
        self._open: dict[str, Logger] = {}
        self._rows: list[Row] = []
        self._written, self._pictured = time.monotonic(), -1
        name = "{dataset}-ipc{ipc}-{method}-seed{seed}".format(**settings).replace("/", "-")
        for each in wanted:
            about = LoggedRun(id=run, name=name, project=each.project, first=first, settings=settings)
            self._guarded(each.kind.name, partial(self._opened, each, about))

    def _opened(self, wanted: Wanted, run: LoggedRun) -> None:
        logger = wanted.kind.open(run)
        self._open[wanted.kind.name] = logger
        self._progress.say(f"logged to {wanted.kind.name}: {logger.place}")

    def add(self, step: int, measured: Mapping[str, float]) -> None:
        """Take in what outer step `step` has measured. Steps count from 0 here, and from 1 in the loggers."""
        if not self._open:
            return
        self._rows.extend((step + 1, name, float(value)) for name, value in measured.items())
        if time.monotonic() - self._written > SECONDS:
            self._write()

    def picture(self, condensation: Condensation) -> None:
        """Log the images if a tenth of the steps is done since the last picture, and at the start and the end."""
        step, steps = condensation.step, condensation.steps
        due = step >= self._pictured + max(1, steps / PICTURES) or (step >= steps and step > self._pictured)
        if not self._open or (self._pictured >= 0 and not due):
            return
        self._pictured = step
        try:
            shown = self._describe(condensation.result())
            if not len(shown):  # a coreset that has chosen no image yet
                return
            pixels = grid_pixels(shown)
        except SatmError:  # a set that has no whole image yet, or one that cannot be shown without its ZCA file
            return
        except Exception as error:  # a logger never costs a run
            self._progress.say(f"the images cannot be logged ({type(error).__name__}); the run goes on")
            return
        for name in list(self._open):
            self._guarded(name, partial(self._open[name].image, IMAGES, step, pixels))

    def close(self, ending: Ending) -> None:
        """Write what waits and close every logger."""
        self._write()
        for name in list(self._open):
            self._guarded(name, partial(self._open[name].close, ending))
        self._open.clear()

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        for name in list(self._open) if rows else ():
            self._guarded(name, partial(self._open[name].metrics, rows))
        self._written = time.monotonic()

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        """Do `call`. If it fails, say so and drop the logger; warnings of its tool are not ours to show."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except Exception as error:
            self._open.pop(name, None)
            reason = (str(error).splitlines() or [""])[0]
            self._progress.say(
                f"--log {name} failed ({type(error).__name__}: {reason}); the run goes on without it, and the registry "
                "has every number"
            )
