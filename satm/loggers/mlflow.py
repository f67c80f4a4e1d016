"""MLflow: a run of an experiment in the store of MLFLOW_TRACKING_URI, by default `mlflow.db` and `mlruns` here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from satm.loggers.base import LOGGERS, Ending, LoggedRun, LoggerKind, Row, shown_name

if TYPE_CHECKING:
    import numpy as np

MOST = 1000  # metrics of one request, MLflow's own limit
PARAMETERS = 100  # parameters of one request, MLflow's own limit
LONGEST = 6000  # characters of a parameter, MLflow's own limit
STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
RUN = "satm.run"  # the tag with the id of the run, by which a session finds the run of the session before


class MLflow:
    """Metrics, parameters and images of one MLflow run. It uses a client of its own and no active run."""

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
    """No notes of MLflow about its own store, such as one line for each of its migrations."""
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
