"""The part of the registry for runs and their metrics. A run is one piece of long work that can be resumed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from registry.identity import Identity
from registry.process import this_process
from registry.records import EnvironmentRecord, MetricRow, RunRecord, to_json, to_row
from registry.store import now, where
from satm.errors import RegistryError, UnknownName

_COMMAND = ("command", "arguments", "folder")  # the columns of a run for the command that was typed and its folder


class Runs(Identity):
    """The part of the registry that stores runs, their metrics and their environments."""

    def add_environment(self, facts: Mapping[str, Any]) -> str:
        """Store the facts of `registry.provenance.environment` and return their id. Equal facts have equal ids."""
        from satm.canonical import digest

        # For facts that JSON cannot hold, `digest` would raise TypeError or ValueError. `to_json` raises RegistryError.
        to_json(facts)
        record = EnvironmentRecord(id=digest(facts), facts=facts, created=now())
        with self._writing() as db:
            db["environments"].insert(to_row(record), ignore=True)
        return record.id

    def environment(self, environment_id: str) -> EnvironmentRecord:
        """Return the environment with this id. Raises RegistryError if there is none."""
        return self._one(EnvironmentRecord, "environments", environment_id)

    def start_run(
        self,
        *,
        key: str,
        kind: str,
        config: Mapping[str, Any],
        profile: str,
        dataset: str,
        method: str | None = None,
        ipc: int | None = None,
        seed: int,
        device: str,
        environment: Mapping[str, Any],
        command: str,
        set_id: str | None = None,
        keep_command: bool = False,
    ) -> str:
        """Start a run, or resume the unfinished run with this key. Returns the id of the run.

        A resumed run keeps its start time, config, seconds and metrics. Its device, environment, process, command and
        folder are replaced by those of this session. If `keep_command` is True, its command and folder are not
        replaced. `satm runs resume` sets it, because the text `satm runs resume ID` means nothing in another registry.

        If the run with this key is done, a new run starts. To know this before the call, use `find_run`.
        """
        session = {
            "device": device,
            "environment_id": self.add_environment(environment),
            "command": command,
            "message": "",
            "updated": now(),
            **this_process(),
        }
        with self._writing() as db:
            unfinished = self._rows(RunRecord, "SELECT * FROM runs WHERE key = ? AND status != 'done'", [key])
            if unfinished:
                if keep_command:
                    session = {name: value for name, value in session.items() if name not in _COMMAND}
                resumed = replace(unfinished[0], **session, status="running", sessions=unfinished[0].sessions + 1)
                self._update(resumed.id, **to_row(resumed))
                return unfinished[0].id
            record = RunRecord(
                **session,
                status="running",
                id=secrets.token_hex(8),
                key=key,
                kind=kind,
                dataset=dataset,
                method=method,
                ipc=ipc,
                profile=profile,
                seed=seed,
                config=config,
                set_id=set_id,
                seconds=0.0,
                sessions=1,
                started=session["updated"],
            )
            db["runs"].insert(to_row(record))
        return record.id

    def find_run(self, key: str) -> RunRecord | None:
        """Return the newest run with this key, whether it is done or not; None if there is none."""
        found = self._rows(RunRecord, "SELECT * FROM runs WHERE key = ? ORDER BY seq DESC LIMIT 1", [key])
        return found[0] if found else None

    def run(self, run_id: str) -> RunRecord:
        """Return the run with this id. Raises RegistryError if there is none."""
        return self._one(RunRecord, "runs", run_id)

    def run_named(self, reference: str) -> RunRecord:
        """Return the run with an id that begins with `reference`. For `latest`, return the run that started last.

        Raises UnknownName if no id begins with `reference`. Raises RegistryError if several ids do, or if `latest`
        finds no run.
        """
        if reference == "latest":
            found = self._rows(RunRecord, "SELECT * FROM runs ORDER BY seq DESC LIMIT 1")
            if not found:
                raise RegistryError(f"{self.path} holds no run yet; `satm condense` makes one")
            return found[0]
        found = self._rows(RunRecord, "SELECT * FROM runs WHERE substr(id, 1, ?) = ?", [len(reference), reference])
        if len(found) == 1:
            return found[0]
        if found and reference:
            raise RegistryError(f"'{reference}' begins the ids of {len(found)} runs; give more digits")
        raise UnknownName("run", reference, [run.id for run in self.runs()], hint="(`satm runs list` shows them)")

    def remove_run(self, run_id: str) -> None:
        """Remove a run and its metrics.

        Raises RegistryError if a set, a result, a prediction or an unfinished run refers to the run.
        """
        with self._writing() as db:
            run = self.run(run_id)
            for table in ("sets", "results", "result_history", "predictions"):
                (count,) = db.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", [run.id]).fetchone()
                if count:
                    raise RegistryError(f"run {run.id} made {count} rows of the table {table}, which name it: it stays")
            (count,) = db.execute("SELECT count(*) FROM sets WHERE parents LIKE ?", [f'%"run:{run.id}"%']).fetchone()
            if count:
                raise RegistryError(f"run {run.id} is the parent of {count} sets, which name it: it stays")
            sql = "SELECT id FROM runs WHERE status != 'done' AND json_extract(config, '$.start') = ?"
            for (other,) in db.execute(sql, [run.id]).fetchall():
                raise RegistryError(f"run {other} begins at the saved state of run {run.id}, and is not done: it stays")
            db.execute("DELETE FROM metrics WHERE run_id = ?", [run.id])
            db.execute("DELETE FROM runs WHERE id = ?", [run.id])

    def runs(
        self,
        *,
        kind: str | None = None,
        status: str | None = None,
        dataset: str | None = None,
        method: str | None = None,
        ipc: int | None = None,
    ) -> list[RunRecord]:
        """Return the runs that have these values, oldest first. A value of None allows any value."""
        clause, values = where({"kind": kind, "status": status, "dataset": dataset, "method": method, "ipc": ipc})
        return self._rows(RunRecord, f"SELECT * FROM runs {clause} ORDER BY seq", values)

    def add_seconds(self, run_id: str, seconds: float) -> None:
        """Add `seconds` to the working time of a run.

        Call this during the work, for example at each checkpoint. Then the time is not lost if the session is killed.
        """
        with self._writing():
            self._update(run_id, seconds=self.run(run_id).seconds + seconds, updated=now())

    def finish_run(
        self,
        run_id: str,
        *,
        status: Literal["done", "failed", "interrupted"],
        message: str = "",
        set_id: str | None = None,
        add_seconds: float = 0.0,
    ) -> None:
        """End this session of a run.

        `set_id` is the id of the set that the run made; None leaves the stored id as it is. `add_seconds` is the part
        of the working time, in seconds, that no call of the methods `add_seconds` and `add_metrics` has added yet.
        """
        with self._writing():
            run = self.run(run_id)
            self._update(
                run_id,
                status=status,
                message=message,
                set_id=set_id or run.set_id,
                seconds=run.seconds + add_seconds,
                updated=now(),
            )

    def amend_run(self, run_id: str, **config: Any) -> None:
        """Replace or add entries of a run's config. Use it for facts that become known only during the run."""
        with self._writing():
            self._update(run_id, config=to_json({**self.run(run_id).config, **config}), updated=now())

    def add_metrics(
        self, run_id: str, rows: Sequence[tuple[int, str, float]], *, seconds: float = 0.0, wait: bool = True
    ) -> None:
        """Store metrics as rows (step, name, value), and add `seconds` to the working time of the run.

        A new row replaces a stored row with the same step and name. If `wait` is False and another process is writing
        to the registry, RegistryBusy is raised at once.
        """
        records = [MetricRow(run_id=run_id, step=step, name=name, value=value) for step, name, value in rows]
        with self._writing(wait=wait) as db:
            run = self.run(run_id)
            db["metrics"].insert_all(map(to_row, records), replace=True)
            if seconds:
                self._update(run_id, seconds=run.seconds + seconds, updated=now())

    def drop_metrics_from(self, run_id: str, step: int) -> None:
        """Delete the metrics of `step` and of all later steps. A resumed run computes them again."""
        with self._writing() as db:
            db["metrics"].delete_where("run_id = ? AND step >= ?", [run_id, step])

    def metrics(self, run_id: str, name: str | None = None) -> list[MetricRow]:
        """Return the metrics of a run, ordered by step. If `name` is given, only this metric is returned."""
        clause, values = where({"run_id": run_id, "name": name})
        return self._rows(MetricRow, f"SELECT * FROM metrics {clause} ORDER BY step, name", values)

    def curve(self, run_id: str, name: str) -> list[tuple[int, float]]:
        """Return the pairs (step, value) of one metric of a run, ordered by step.

        Values that are not finite are left out.
        """
        sql = "SELECT step, value FROM metrics WHERE run_id = ? AND name = ? AND value IS NOT NULL ORDER BY step"
        return [(step, value) for step, value in self._tuples(sql, [run_id, name]) if math.isfinite(value)]

    def _update(self, run_id: str, **columns: Any) -> None:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        self._db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", [*columns.values(), run_id])
