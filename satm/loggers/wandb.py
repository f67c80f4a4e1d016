"""Weights & Biases: a run of a project. `WANDB_MODE=offline` keeps it in the folder `wandb` here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from satm.errors import ConfigError
from satm.loggers.base import LOGGERS, Ending, LoggedRun, LoggerKind, Row, shown_name

if TYPE_CHECKING:
    import numpy as np

START_SECONDS = 60.0  # to reach the server


class WandB:
    """Metrics, configuration and images of one W&B run, which a later session of the same run goes on with.

    W&B's own service process ends with the program: other runs of the program may need it.
    """

    def __init__(self, run: LoggedRun) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id,
            config=dict(run.settings),
            resume="allow",
            reinit="create_new",  # leaves a run of the user's own program alone
            settings=wandb.Settings(console="off", silent=True, init_timeout=START_SECONDS),
        )
        self._axis = run.counts  # the x axis of every metric
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
    """Raise ConfigError if W&B would ask for a key in the middle of the work."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode  # `wandb offline` writes a settings file
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
