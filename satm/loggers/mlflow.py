"""Logs to MLflow: each run becomes an MLflow run in an MLflow experiment.

MLflow stores its runs at the address in the environment variable MLFLOW_TRACKING_URI. By default these are the file
`mlflow.db` and the folder `mlruns` in the current folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from satm.loggers.base import LOGGERS, Ending, LoggedRun, LoggerKind, Row, shown_name

if TYPE_CHECKING:
    import numpy as np

MOST = 1000  # the largest number of metrics in one request, a limit of MLflow
PARAMETERS = 100  # the largest number of parameters in one request, a limit of MLflow
LONGEST = 6000  # the largest number of characters in a parameter, a limit of MLflow
STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}  # MLflow's names for each `Ending`
RUN = "satm.run"  # the tag that holds the id of the run; with it, a later session finds the same MLflow run


class MLflow:
    """Logs metrics, settings and images of one run. MLflow calls the settings parameters.

    The logger has its own MLflow client, so a run that the user's own program has active in MLflow is not changed.
    """

    def __init__(self, run: LoggedRun) -> None:
        with _quiet():
            import mlflow
            from mlflow import MlflowClient
            from mlflow.entities import Param

            self._client: Any = MlflowClient()
            self.place = f"mlflow ui --backend-store-uri {mlflow.get_tracking_uri()}"
            experiment = self._client.get_experiment_by_name(run.project)
            where = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
            before = self._client.search_runs([where], f"tags.`{RUN}` = '{run.id}'", max_results=1)
            if before:
                self._id = before[0].info.run_id
                self._client.update_run(self._id, status="RUNNING")
                return
            self._id = self._client.create_run(where, run_name=run.name, tags={RUN: run.id}).info.run_id
            parameters = [Param(key, str(value)[:LONGEST]) for key, value in run.flat.items()]
            for start in range(0, len(parameters), PARAMETERS):
                self._client.log_batch(self._id, params=parameters[start : start + PARAMETERS])

    def metrics(self, rows: Sequence[Row]) -> None:
        """See `Logger`."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(shown_name(name), value, now, step) for step, name, value in rows]
        with _quiet():
            for start in range(0, len(metrics), MOST):
                self._client.log_batch(self._id, metrics=metrics[start : start + MOST])

    def image(self, name: str, step: int, pixels: np.ndarray) -> None:
        """See `Logger`."""
        with _quiet():
            self._client.log_image(self._id, pixels, key=name, step=step)

    def close(self, ending: Ending) -> None:
        """See `Logger`."""
        with _quiet():
            self._client.set_terminated(self._id, STATUS[ending])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide MLflow's messages about its own store during a `with` block, such as one line for each migration."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


LOGGERS.add(
    LoggerKind(
        name="mlflow",
        summary="a run of an MLflow experiment, satm by default",
        module="mlflow",
        install="pip install 'satm[mlflow]'",
        project="satm",
        open=MLflow,
    )
)
