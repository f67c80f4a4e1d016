"""The part of the registry for results: evaluated numbers, the recipes of their evaluations, and means over repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple, TypedDict, Unpack

from registry.checksums import COLUMNS, checksum
from registry.connection import explained
from registry.groups import Groups
from registry.records import RecipeRecord, ResultRow, SummaryRow, to_json, to_row
from registry.store import now, where
from satm.errors import RegistryError


class ResultFilters(TypedDict, total=False):
    """Conditions for the results to return. A filter that is None or left out allows any value."""

    dataset: str | None
    method: str | None
    ipc: int | None
    protocol: str | None  # `class-incremental` also allows `class-incremental/der` and all other NAMEs after the slash
    architecture: str | None
    memory: str | None
    set: str | None  # a reference, as for `Registry.find`
    metric: str | None
    profile: str | None
    recipe_id: str | None
    steps: int | None


CHANCE = ("accuracy", "macro_accuracy")  # for these metrics a diverged network has the value of a guess, 1/K
# The metric of the single row that a diverged network has. In a class-incremental stream, a diverged network has all
# its rows instead, with the values of a guess, and their `detail` contains the key `diverged`.
DIVERGED = "diverged"

# The SQL expression for the parts of `detail` that a `CellKey` contains.
NOTED = "json_extract(detail, '$.policy', '$.validation', '$.grid.edge', '$.diverged')"


class CellKey(NamedTuple):
    """What the values of one mean have in common. `noted` is a JSON list with the values of `NOTED`."""

    set_id: str
    protocol: str
    architecture: str
    memory: str
    recipe_id: str
    profile: str
    steps: int
    step: int
    metric: str
    noted: str


class CellValues(NamedTuple):
    """The values of one mean. They have one `CellKey` in common."""

    values: dict[int, float]  # the value by the number of the repeat
    rates: set[float]  # the learning rates of all repeats


def recipe_id(name: str, config: Mapping[str, Any]) -> str:
    """Return the id of a training recipe. The recipe need not be stored.

    Raises RegistryError if JSON cannot hold its config.
    """
    from satm.canonical import digest

    # For a config that JSON cannot hold, `digest` would raise TypeError or ValueError. `to_json` raises RegistryError.
    to_json(config)
    return digest({"name": name, "config": dict(config)})


class Results(Groups):
    """The part of the registry that stores recipes and evaluation results."""

    def add_recipe(self, name: str, config: Mapping[str, Any]) -> str:
        """Store a training recipe and return its id. Equal names and configs have equal ids."""
        record = RecipeRecord(id=recipe_id(name, config), name=name, config=config, created=now())
        with self._writing() as db:
            db["recipes"].insert(to_row(record), ignore=True)
        return record.id

    def recipe(self, recipe_id: str) -> RecipeRecord:
        """Return the recipe with this id. Raises RegistryError if there is none."""
        return self._one(RecipeRecord, "recipes", recipe_id)

    def recipe_name(self, recipe_id: str) -> str:
        """Return the name of the recipe with this id. Raises RegistryError if there is none."""
        names = self._recipe_names
        if recipe_id not in names:
            names[recipe_id] = self.recipe(recipe_id).name
        return names[recipe_id]

    @cached_property
    def _recipe_names(self) -> dict[str, str]:
        return {}  # `recipe_name` fills this cache; it stays right because stored recipes never change

    def add_results(self, rows: Sequence[ResultRow]) -> None:
        """Store results with a checksum for each row. If an error occurs, none of them is stored.

        A new row replaces a stored row with the same key (the fields up to `metric`). If the two differ, the old row is
        kept in the table `result_history`. The heartbeat (`updated`) of the runs that measured the rows becomes now.
        """
        stored = [to_row(row) for row in rows]
        for row in stored:
            row["checksum"] = checksum([row[name] for name in COLUMNS])
        with self._writing() as db:
            db["results"].insert_all(stored, replace=True)
            for run_id in {row.run_id for row in rows if row.run_id is not None}:
                db.execute("UPDATE runs SET updated = ? WHERE id = ?", [now(), run_id])

    def results(self, **filters: Unpack[ResultFilters]) -> list[ResultRow]:
        """Return the single results that the filters allow, ordered by the columns that identify them."""
        clause, values = self._wanted(filters)
        return self._rows(
            ResultRow,
            "SELECT results.* FROM results JOIN (SELECT id AS set_id, dataset, method, ipc FROM sets) USING (set_id) "
            f"{clause} ORDER BY set_id, protocol, architecture, memory, recipe_id, steps, metric, repeat, step",
            values,
        )

    def stored_values(self, column: str) -> list[str]:
        """Return the different values of one column of the results, sorted. `column` is a field of `ResultRow`."""
        assert column in ResultRow.__slots__
        found = self._mappings(f"SELECT DISTINCT {column} AS value FROM results ORDER BY value")
        return [row["value"] for row in found]

    def measured_since(self, when: str) -> set[tuple[str, str, str, str, str, int]]:
        """Return what was measured at the time `when` (ISO 8601, UTC) or later.

        Each item is (set id, protocol, architecture, memory, recipe id, steps). The time of a result is the last
        heartbeat of the run that measured it. If no run is stored with the result, it is the time at which the set was
        stored.
        """
        rows = self._tuples(
            "SELECT DISTINCT results.set_id, protocol, architecture, memory, recipe_id, steps FROM results "
            "JOIN sets ON sets.id = results.set_id LEFT JOIN runs ON runs.id = results.run_id "
            "WHERE coalesce(runs.updated, sets.created) >= ?",
            [when],
        )
        return set(rows)

    def damaged_results(self, set_id: str | None = None) -> list[str]:
        """Return one line for each result, replaced result and recipe that another program has changed.

        A changed result has a wrong checksum, and a changed recipe has a wrong id. If `set_id` is given, the results of
        other sets are not checked. All recipes are checked in any case.
        """
        clause, values = where({"set_id": set_id})
        problems = []
        for table in ("results", "result_history"):
            names = ", ".join(f"{table}.{name}" for name in COLUMNS)
            sql = f"SELECT sets.name, {names}, checksum FROM {table} LEFT JOIN sets ON sets.id = set_id {clause}"
            with explained(self.path):
                for name, *row, stored in self._db.execute(sql, values):
                    if checksum(row) != stored:
                        about = dict(zip(COLUMNS, row, strict=True))
                        key = "{protocol}, {architecture}, {memory}, {metric}, repeat {repeat}, step {step}"
                        problems.append(f"{name}: a row of {table} ({key.format(**about)}) was changed; restore a copy")
        return problems + [
            f"recipe {recipe.name} ({recipe.id[:12]}) was changed; restore a copy"
            for recipe in self._rows(RecipeRecord, "SELECT * FROM recipes")
            if recipe_id(recipe.name, recipe.config) != recipe.id
        ]

    def replaced_results(self, set_id: str | None = None) -> list[dict[str, Any]]:
        """Return the result rows that were replaced by newer rows, oldest first. No mean uses them.

        A row is a dictionary by column name. The column `replaced` is the time of replacement.
        """
        clause, values = where({"set_id": set_id})
        return self._mappings(f"SELECT * FROM result_history {clause} ORDER BY seq", values)

    def verify(self, reference: str | None = None) -> list[str]:
        """Return one line for each problem of a set and its results, or of the whole file if `reference` is None.

        The list is empty if there is no problem. All recipes are checked in any case.
        """
        set_id = None if reference is None else self.find(reference).id
        return [*super().verify(reference), *self.damaged_results(set_id)]

    def cells(
        self,
        sets: Sequence[str] | None = None,
        *,
        without: Sequence[str] = (),
        last_only: bool = False,
        rather: Sequence[str] = (),
        **filters: Any,
    ) -> dict[CellKey, CellValues]:
        """Return the values of result rows, collected into cells. The order of the cells is not defined.

        The rows of one cell have the same `CellKey` and different repeats. A million rows are read in a few seconds,
        because no `ResultRow` is made.

        Args:
            sets: the ids of the sets; None: all sets.
            without: GLOB patterns; a metric that matches one of them is left out.
            last_only: leave out all incremental steps except the last.
            rather: preferred metrics. If a network has at least one of them at its last step, or if it diverged, its
                rows with all other metrics except `diverged` are left out.
            filters: see `ResultFilters`. If `metric` is one of `CHANCE`, the rows with the metric `diverged` are also
                returned.

        Raises RegistryError if a value is not finite, and the errors that `results` raises.
        """
        metric = filters.pop("metric", None)
        clause, values = self._wanted(filters)
        terms = [clause.removeprefix("WHERE ")] if clause else []
        if metric is not None:
            terms.append("metric IN (?, ?)")
            values += [metric, DIVERGED if metric in CHANCE else metric]
        if sets is not None:
            terms.append("set_id IN (SELECT value FROM json_each(?))")
            values.append(to_json(list(sets)))
        terms += ["step = steps"] * last_only + ["metric NOT GLOB ?"] * len(without)
        if rather:
            names = ", ".join("?" * (len(rather) + 1))
            same = " AND ".join(f"has.{name} = results.{name}" for name in (*CellKey._fields[:5], "steps", "repeat"))
            has = f"SELECT 1 FROM results AS has WHERE {same} AND has.step = has.steps AND has.metric IN ({names})"
            terms.append(f"(metric IN ({names}) OR NOT EXISTS ({has}))")
        of_sets = any(filters.get(name) is not None for name in ("dataset", "method", "ipc"))
        joined = "JOIN (SELECT id AS set_id, dataset, method, ipc FROM sets) USING (set_id)" if of_sets else ""
        rows = self._tuples(
            f"SELECT {', '.join(CellKey._fields[:-1])}, {NOTED}, repeat, value, step_size "
            f"FROM results {joined} {'WHERE ' if terms else ''}{' AND '.join(terms)}",
            [*values, *without, *([*rather, DIVERGED] * 2 if rather else [])],
        )
        found: dict[tuple[Any, ...], CellValues] = {}
        for row in rows:
            cell = found.get(row[:-3])
            if cell is None:
                cell = found[row[:-3]] = CellValues({}, set())
            cell.values[row[-3]] = row[-2]
            cell.rates.add(row[-1])
        if not all(isfinite(value) for cell in found.values() for value in cell.values.values()):
            raise RegistryError(f"{self.path} holds a result that is not finite; restore a copy of it")
        return {CellKey(*key): cell for key, cell in found.items()}

    def summary(self, **filters: Unpack[ResultFilters]) -> list[SummaryRow]:
        """Return the mean, the population standard deviation and n over repeats, for each step of a stream.

        For class-incremental results, the networks of each class order are averaged first, and the mean, the standard
        deviation and n are computed over the class orders. Results with different profiles, recipes or policies of the
        learning rate are never averaged together.
        """
        clause, values = self._wanted(filters)
        return self._rows(
            SummaryRow,
            f"SELECT * FROM summary {clause} "
            "ORDER BY dataset, ipc, protocol, metric, architecture, memory, set_name, profile, recipe, steps, step",
            values,
        )

    def _wanted(self, filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL WHERE clause of `filters` and its values. The clause is "" if no filter is set.

        Raises TypeError for an unknown filter, UnknownName if the filter `set` names no set, and RegistryError if the
        filter `set` is the start of several ids.
        """
        columns: dict[str, Any] = dict(filters)
        unknown = sorted(columns.keys() - ResultFilters.__annotations__.keys())
        if unknown:
            raise TypeError(f"unknown filter {unknown[0]!r}; known: {', '.join(ResultFilters.__annotations__)}")
        reference, protocol = columns.pop("set", None), columns.pop("protocol", None)
        clause, values = where({**columns, "set_id": self.find(reference).id if reference else None})
        if protocol is None:
            return clause, values
        prefix = f"{clause} AND" if clause else "WHERE"
        return f"{prefix} (protocol = ? OR protocol LIKE ? || '/%')", [*values, protocol, protocol]
