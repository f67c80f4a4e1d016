"""Sends the metrics of a run, and the images of a condensation, to loggers such as TensorBoard.

A logger that fails never ends the run.
"""

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
PICTURES = 10  # how many times a run logs its images, at even distances
SECONDS = 5.0  # the least time between two writes, because a write to a logger can take longer than an outer step


class Loggers:
    """The loggers of one run.

    If a logger fails, the user gets one line about its error, and the run goes on without that logger.

    Args:
        wanted: the loggers that the user asked for.
        run: the id of the run in the registry.
        first: the number of outer steps that were done before this session.
        settings: everything that decides the result; also used to name the run in the loggers.
        describe: makes a synthetic set from the current state of a condensation, so that its images can be logged.
            None: the run makes no images.
        counts: what one step of a metric is, as in `LoggedRun`: an outer step, a network or an incremental step.
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
        """Take the metrics that step `step` has measured, and write them if the last write is `SECONDS` old.

        Otherwise they are written later, by another call or by `close`. Steps are counted from 0 here, and from 1 in
        the loggers.
        """
        if not self._open:
            return
        self._rows.extend((step + 1, name, float(value)) for name, value in measured.items())
        if time.monotonic() - self._written > SECONDS:
            self._write()

    def picture(self, condensation: Condensation) -> None:
        """Log the images at the start, at the end, and whenever a tenth of the steps is done since the last picture."""
        step, steps = condensation.step, condensation.steps
        due = step >= self._pictured + max(1, steps / PICTURES) or (step >= steps and step > self._pictured)
        if not self._open or self._describe is None or (self._pictured >= 0 and not due):
            return
        self._pictured = step
        try:
            shown = self._describe(condensation.result())
            if not len(shown):  # a coreset method that has not yet chosen a real image
                return
            pixels = grid_pixels(shown)
        except SatmError:  # the set has no complete image yet, or its ZCA file, which undoes the whitening, is missing
            return
        except Exception as error:  # logging must never end the run
            self._progress.say(f"the images cannot be logged ({type(error).__name__}); the run goes on")
            return
        for name in list(self._open):
            self._guarded(name, partial(self._open[name].image, IMAGES, step, pixels))

    def close(self, ending: Ending) -> None:
        """Write the metrics that are not written yet, and close every logger. `ending` says how the run ended."""
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
        """Run `call`, which uses logger `name`. If it fails, tell the user and drop the logger.

        Warnings of the logging tool are not shown.
        """
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
    """Open the workspace's loggers for an evaluation of a set, and close them after the `with` block.

    When it is closed, each logger records whether the block was done, failed or was interrupted. `run` is the id of the
    run and `kind` its kind in the registry, such as "eval-cl". `settings` describe the request.
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
    """The `values` of a network under the names that loggers show, such as `cross-arch/resnet18/condensed/accuracy`.

    Values that are not finite are left out. For a class-incremental stream, `network` is the repeat number; it is added
    to the name, so that every network has its own curve: `class-incremental/convnet3/condensed/accuracy.0`.
    """
    number = "" if network is None else f".{network}"
    found = {name: value for name, value in values.items() if math.isfinite(value)}
    return {_plain(f"{protocol}/{architecture}/{memory}/{name}{number}"): value for name, value in found.items()}


def _plain(name: str) -> str:
    """`name` with only the characters that every logging tool accepts: `condensed[:3]` becomes `condensed_3`."""
    return re.sub(r"_*(/|$)", r"\1", re.sub(r"[^\w./-]+", "_", name, flags=re.ASCII))
