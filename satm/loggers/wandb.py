"""Logs to Weights & Biases (W&B): each run becomes a W&B run in a W&B project.

With the environment variable `WANDB_MODE=offline`, the W&B run is not sent to the server: it is kept in the folder
`wandb` of the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from satm.errors import ConfigError
from satm.loggers.base import LOGGERS, Ending, LoggedRun, LoggerKind, Row, shown_name

if TYPE_CHECKING:
    import numpy as np

START_SECONDS = 60.0  # how long to wait for W&B's server at the start


class WandB:
    """Logs the metrics, settings and images of one run. If the run is continued later, so is the same W&B run.

    W&B's own service process runs until the program ends, because other runs of the program may need it.
    """

    def __init__(self, run: LoggedRun) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id,
            config=dict(run.settings),
            resume="allow",
            reinit="create_new",  # a W&B run that the user's own program has open is not changed
            settings=wandb.Settings(console="off", silent=True, init_timeout=START_SECONDS),
        )
        self._axis = run.counts  # the name of the x axis of every metric, for example `outer_step`
        self._run.define_metric(self._axis)
        self._run.define_metric("*", step_metric=self._axis)
        offline = self._run.settings.mode == "offline"
        self.place = f"wandb sync {self._run.settings.sync_dir}" if offline else str(self._run.url)

    def metrics(self, rows: Sequence[Row]) -> None:
        """See `Logger`."""
        for step, found in groupby(rows, key=lambda row: row[0]):
            self._run.log({self._axis: step, **{shown_name(name): value for _, name, value in found}})

    def image(self, name: str, step: int, pixels: np.ndarray) -> None:
        """See `Logger`."""
        import wandb

        self._run.log({self._axis: step, name: wandb.Image(pixels)})

    def close(self, ending: Ending) -> None:
        """See `Logger`."""
        self._run.finish(exit_code=0 if ending == "done" else 1)


def check_key() -> None:
    """Raise ConfigError if no API key is known: W&B would then ask for one in the middle of the work."""
    import wandb

    # The shell command `wandb offline` stores the mode in a file, from which wandb reads its settings.
    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise ConfigError("--log wandb: no API key is known; run wandb login once, or wandb offline")


LOGGERS.add(
    LoggerKind(
        name="wandb",
        summary="a run of a Weights & Biases project, satm by default",
        module="wandb",
        install="pip install 'satm[wandb]'",
        project="satm",
        open=WandB,
        check=check_key,
    )
)
