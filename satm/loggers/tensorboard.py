"""Logs to TensorBoard: event files in `FOLDER/RUN`.

FOLDER is the text after the colon in `--log tensorboard:FOLDER`, by default `runs`. RUN is the name and id of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from satm.loggers.base import LOGGERS, Ending, LoggedRun, LoggerKind, Row, shown_name

if TYPE_CHECKING:
    import numpy as np


class TensorBoard:
    """Logs scalars, images, and the settings in the HPARAMS tab.

    If a run continues and repeats steps, the new values hide the old values of these steps.
    """

    def __init__(self, run: LoggedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = Path(run.project, f"{run.name}-{run.id}")
        self.place = f"tensorboard --logdir {run.project}"
        # Only a condensation repeats steps when it continues. An evaluation then logs only what is not logged yet.
        again = run.first + 1 if run.counts == "outer_step" else None
        self._writer = SummaryWriter(str(folder), purge_step=again)
        # `SummaryWriter.add_hparams` would put the settings in a separate folder and not with the curves.
        for summary in hparams(run.flat, {"train/loss": 0.0, "validation/accuracy": 0.0}):
            self._writer.file_writer.add_summary(summary)

    def metrics(self, rows: Sequence[Row]) -> None:
        """See `Logger`."""
        for step, name, value in rows:
            self._writer.add_scalar(shown_name(name), value, step)

    def image(self, name: str, step: int, pixels: np.ndarray) -> None:
        """See `Logger`."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self, ending: Ending) -> None:
        """See `Logger`."""
        self._writer.add_text("status", ending)
        self._writer.close()


LOGGERS.add(
    LoggerKind(
        name="tensorboard",
        summary="event files in a folder, runs by default, for tensorboard --logdir",
        module="tensorboard",
        install="pip install 'satm[tensorboard]'",
        project="runs",
        open=TensorBoard,
    )
)
