"""The trials of a tuning, kept in an SQLite storage of Optuna.

Several workers may run trials of one study, but no two of them run the same trial at the same time. Each accuracy of a
trial is stored as soon as it is known, so a trial whose process is killed can be continued.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from registry.location import check
from registry.process import alive, this_process
from satm.errors import RegistryError
from satm.home import acquire
from satm.workflow.tune.sampler import SeededTPE
from satm.workflow.tune.space import Choices, Space

HALVING = 2  # at each rung the best 1/HALVING of the trials, the better half, goes on
MOST_DEATHS = 3  # a trial is not tried again after its worker process has died this many times
WAIT = 60.0  # how many seconds SQLite waits while another worker writes
State: TypeAlias = Literal["complete", "pruned", "failed", "unfinished"]
ENDED: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial of a study."""

    number: int  # counted from 0; trial 0 has the settings of the preset
    state: State
    # The values of the searched settings. {} for the preset itself, if its values are not all in the searched ranges.
    settings: Mapping[str, Any]
    is_default: bool  # whether this is the first trial, which is the preset itself
    curve: Mapping[int, float]  # for the first seed: outer steps done → mean validation accuracy
    # The accuracies at the end: for each seed, one for each network. () if the trial is not complete.
    accuracies: tuple[tuple[float, ...], ...]
    runs: tuple[str, ...]  # the ids of the trial's condensation runs
    reason: str  # why the trial was pruned or failed; "" for other trials


class Study:
    """One study of an Optuna storage. Several processes may run trials of it at the same time.

    Args:
        path: the file of the storage.
        name: the name of the study.
        seed: the seed of the sampler.
        first_rung: the number of outer steps at which trials are first compared.
        space: the searched settings.
    """

    def __init__(self, path: Path, name: str, *, seed: int, first_rung: int, space: Space) -> None:
        self.path, self.name, self.space = path, name, space
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first_rung, reduction_factor=HALVING)
        with _explained(path):
            self._optuna = optuna.create_study(
                storage=_storage(path),
                study_name=name,
                direction="maximize",
                sampler=SeededTPE(seed),
                pruner=pruner,
                load_if_exists=True,
            )

    def begin(self, facts: Mapping[str, Any]) -> None:
        """If the study is new, store `facts` with it and add its first trial, which is the preset itself."""
        with self._alone(), _explained(self.path):
            if self._optuna.get_trials(deepcopy=False):
                return
            for name, value in facts.items():
                self._optuna.set_user_attr(name, value)
            fixed = dict(self.space.defaults) if self.space.holds_defaults else {}
            self._optuna.enqueue_trial(fixed, user_attrs={"default": True})

    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials that have begun, sorted by number."""
        with _explained(self.path):
            found = self._optuna.get_trials(deepcopy=False)
        return tuple(_record(each) for each in found if each.state != TrialState.WAITING)

    def take(self, wanted: int) -> TakenTrial | None:
        """Take a trial for this process to run. None if the study already has `wanted` trials.

        An unfinished trial whose process was stopped or killed is taken first. It keeps its settings, and its
        condensations continue from their saved states. If there is none, a new trial is taken.
        """
        with self._alone(), _explained(self.path):
            for each in self._optuna.get_trials(deepcopy=False):
                if each.state == TrialState.RUNNING and not _worked_at(each) and self._may_continue(each):
                    return self._mine(Trial(self._optuna, each._trial_id), each)
            begun = [each for each in self._optuna.get_trials(deepcopy=False) if each.state != TrialState.WAITING]
            if len(begun) >= wanted:
                return None
            return self._mine(self._optuna.ask(), None)

    def _may_continue(self, trial: FrozenTrial) -> bool:
        """Whether a trial whose process has ended may be tried again. If not, the trial is stored as failed."""
        deaths = trial.user_attrs.get("deaths", 0) + (not trial.user_attrs.get("stopped", False))
        taken = Trial(self._optuna, trial._trial_id)
        taken.set_user_attr("deaths", deaths)
        if deaths < MOST_DEATHS:
            return True
        taken.set_user_attr("reason", f"its process died {deaths} times")
        self._optuna.tell(trial.number, state=TrialState.FAIL)
        return False

    def _mine(self, trial: Trial, before: FrozenTrial | None) -> TakenTrial:
        process = this_process()
        trial.set_user_attr("worker", {name: process[name] for name in ("host", "pid", "process_started")})
        trial.set_user_attr("stopped", False)
        default = bool(trial.user_attrs.get("default"))
        reported = set() if before is None else set(before.intermediate_values)
        # If values of the preset are outside the searched ranges, Optuna cannot store them as settings of a trial. The
        # first trial then has no settings of its own.
        settings = {} if default and not self.space.holds_defaults else _suggested(self.space, trial)
        return TakenTrial(study=self, trial=trial, settings=settings, is_default=default, reported=reported)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Context manager: only one process at a time is in the block, so no two processes take the same trial."""
        lock = acquire(self.path.with_name(f"{self.path.name}.lock"), timeout=-1)
        try:
            yield
        finally:
            lock.release()


@dataclass
class TakenTrial:
    """A trial that this process runs."""

    study: Study
    trial: Trial  # the trial as an object of Optuna
    settings: Mapping[str, Any]  # the values of the searched settings; {} means that the preset is not changed
    is_default: bool  # whether this is the first trial, which is the preset itself
    reported: set[int]  # the outer steps for which the storage already has an accuracy

    @property
    def number(self) -> int:
        """The number of the trial, counted from 0."""
        return self.trial.number

    def report(self, step: int, accuracy: float) -> bool:
        """Store the accuracy after `step` outer steps. Returns whether the trial must be pruned.

        A trial is pruned if `step` reaches a rung and the trial is not in the better half of the trials there. The
        first trial is never pruned, because the other trials are compared with it.
        """
        with _explained(self.study.path):
            if step not in self.reported:
                self.trial.report(accuracy, step)
                self.reported.add(step)
            return self.trial.should_prune() and not self.is_default

    def add_run(self, run: str) -> None:
        """Store that the run with id `run` belongs to this trial."""
        with _explained(self.study.path):
            runs = self.trial.user_attrs.get("runs", [])
            if run not in runs:
                self.trial.set_user_attr("runs", [*runs, run])

    def stop(self) -> None:
        """Leave the trial for a later call of `tune`.

        An error while writing is ignored: the later call then finds that this process has ended.
        """
        with suppress(RegistryError), _explained(self.study.path):
            self.trial.set_user_attr("stopped", True)
            self.trial.set_user_attr("worker", None)

    def complete(self, accuracies: Sequence[Sequence[float]]) -> None:
        """End the trial as complete, with the accuracies of each seed and network. The trial's value is their mean."""
        flat = [value for row in accuracies for value in row]
        with _explained(self.study.path):
            self.trial.set_user_attr("accuracies", [list(row) for row in accuracies])
            self.study._optuna.tell(self.trial, sum(flat) / len(flat))

    def give_up(self, reason: str, *, pruned: bool) -> None:
        """End the trial as pruned, or else as failed, and store the reason."""
        with _explained(self.study.path):
            self.trial.set_user_attr("reason", reason)
            self.study._optuna.tell(self.trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)


def _suggested(space: Space, trial: Trial) -> dict[str, Any]:
    """The values of the searched settings for this trial. For a trial that is continued, Optuna returns the same."""
    found: dict[str, Any] = {}
    for name, each in space.ranges.items():
        if isinstance(each, Choices):
            found[name] = trial.suggest_categorical(name, each.values)
        elif each.scale == "int":
            found[name] = trial.suggest_int(name, int(each.low), int(each.high))
        else:
            found[name] = trial.suggest_float(name, each.low, each.high, log=each.scale == "log")
    return found


def _worked_at(trial: FrozenTrial) -> bool:
    """Whether another live process runs the trial.

    A process on another host cannot be checked, so it is taken as alive.
    """
    worker, here = trial.user_attrs.get("worker"), this_process()
    if worker is None or (worker["host"], worker["pid"]) == (here["host"], here["pid"]):
        return False
    return worker["host"] != here["host"] or alive(**worker) is not None


def _record(trial: FrozenTrial) -> TrialRecord:
    facts = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=ENDED.get(trial.state, "unfinished"),
        settings=dict(trial.params),
        is_default=bool(facts.get("default")),
        curve=dict(trial.intermediate_values),
        accuracies=tuple(tuple(row) for row in facts.get("accuracies", ())),
        runs=tuple(facts.get("runs", ())),
        reason=facts.get("reason", ""),
    )


def _storage(path: Path) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise Optuna prints a line for each trial
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": WAIT}})


def check_storage(path: Path, registry: Path) -> None:
    """Raise RegistryError if `path` cannot hold studies.

    This is so if `path` is the registry, another database or no regular file, if it cannot be written, or if it
    contains characters with which Optuna cannot open it.
    """
    if odd := sorted(set(str(path.absolute())) & set("?#%{}")):  # Optuna takes the path as part of a URL
        raise RegistryError(f"{path}: Optuna cannot open a path with {' '.join(odd)}; name another with --storage")
    try:
        check(path, must_exist=False, read_only=False)
    except RegistryError as error:
        raise RegistryError(str(error).replace("--registry", "--storage")) from None
    if not path.exists():
        return
    if registry.exists() and path.samefile(registry):
        raise RegistryError(f"{path} is the registry; studies need a file of their own, name one with --storage")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RegistryError(f"{path} is no storage of Optuna ({error}); name another file with --storage") from None
    if tables and not {"studies", "trials"} <= tables:
        raise RegistryError(f"{path} is another database, no storage of Optuna; name another file with --storage")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Context manager: an error of Optuna or of its database is raised as a RegistryError with one line of text."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna")
            yield
    except (SQLAlchemyError, OptunaError, RuntimeError) as error:
        cause = error.__cause__ or error
        text = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise RegistryError(
            f"the studies in {path} cannot be used: {text}; name another file with --storage"
        ) from error
