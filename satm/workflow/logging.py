"""Sends the metrics of a run, and the images of a condensation, to loggers. One that fails never costs the run."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from registry import SetRecord
from satm.errors import Interrupted, SatmError
from satm.loggers import LoggedRun, Logger, Wanted
from satm.loggers.base import Ending, Row
from satm.methods import Condensation, Outcome
from satm.progress import Progress
from satm.report.grid import grid_pixels
from satm.synthetic import SyntheticSet
from satm.workflow.workspace import Workspace

IMAGES = "synthetic_images"
PICTURES = 10  # of the images, spread over a run
SECONDS = 5.0  # between two writes: a logger may need longer for one than an outer step takes


class Loggers:
    """The loggers of one run.

    An error of a logger is said in one line, and then the run goes on without that logger. `describe` makes a set of
    the images of a moment; None: the run makes none. `counts` says what a step is, as in `LoggedRun`.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        progress: Progress,
        *,
        run: str,
        first: int,
        settings: Mapping[str, Any],
        describe: Callable[[Outcome], SyntheticSet] | None = None,
        counts: str = "outer_step",
    ) -> None:
        self._progress, self._describe = progress, describe
        self._open: dict[str, Logger] = {}
        self._rows: list[Row] = []
        self._written, self._pictured = time.monotonic(), -1
        name = "{dataset}-ipc{ipc}-{method}-seed{seed}".format(**settings).replace("/", "-")
        name += f"-{settings['kind']}" if "kind" in settings else ""
        for each in wanted:
            about = LoggedRun(id=run, name=name, project=each.project, first=first, settings=settings, counts=counts)
            self._guarded(each.kind.name, partial(self._opened, each, about))

    def _opened(self, wanted: Wanted, run: LoggedRun) -> None:
        logger = wanted.kind.open(run)
        self._open[wanted.kind.name] = logger
        self._progress.say(f"logged to {wanted.kind.name}: {logger.place}")

    def add(self, step: int, measured: Mapping[str, float]) -> None:
        """Take in what step `step` has measured. Steps count from 0 here, and from 1 in the loggers."""
        if not self._open:
            return
        self._rows.extend((step + 1, name, float(value)) for name, value in measured.items())
        if time.monotonic() - self._written > SECONDS:
            self._write()

    def picture(self, condensation: Condensation) -> None:
        """Log the images if a tenth of the steps is done since the last picture, and at the start and the end."""
        step, steps = condensation.step, condensation.steps
        due = step >= self._pictured + max(1, steps / PICTURES) or (step >= steps and step > self._pictured)
        if not self._open or self._describe is None or (self._pictured >= 0 and not due):
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


@contextmanager
def logged(
    workspace: Workspace, record: SetRecord, run: str, kind: str, settings: Mapping[str, Any]
) -> Iterator[Loggers]:
    """The loggers of the workspace, open for the evaluation of a set in the block, and told how the block ends.

    `kind` is that of the run, `settings` describe the request.
    """
    about = {"dataset": record.dataset, "method": record.method, "ipc": record.ipc, "seed": record.seed, "kind": kind}
    found = Loggers(
        workspace.log,
        workspace.progress,
        run=run,
        first=0,
        settings={**about, "set": record.name, "run": run, "device": str(workspace.device), "evaluate": settings},
        counts="incremental_step" if kind == "eval-cl" else "network",
    )
    ending: Ending = "failed"
    try:
        yield found
        ending = "done"
    except Interrupted:
        ending = "interrupted"
        raise
    finally:
        found.close(ending)


def logged_names(
    protocol: str, architecture: str, memory: str, values: Mapping[str, float], *, network: int | None = None
) -> dict[str, float]:
    """The finite `values` of a network by their names in loggers: `cross-arch/resnet18/condensed/accuracy`.

    A stream has a curve of its own for each `network`: `class-incremental/convnet3/condensed/accuracy.0`.
    """
    number = "" if network is None else f".{network}"
    found = {name: value for name, value in values.items() if math.isfinite(value)}
    return {_plain(f"{protocol}/{architecture}/{memory}/{name}{number}"): value for name, value in found.items()}


def _plain(name: str) -> str:
    """`name` with only the letters that every tool takes: `condensed[:3]` is `condensed_3`."""
    return re.sub(r"_*(/|$)", r"\1", re.sub(r"[^\w./-]+", "_", name, flags=re.ASCII))
