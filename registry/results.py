"""The part of the registry for results: evaluated numbers, the recipes of their evaluations, means over repeats."""

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
    """Which results to return; a filter that is None or left out allows any value."""

    dataset: str | None
    method: str | None
    ipc: int | None
    protocol: str | None  # `class-incremental` finds `class-incremental/der` too
    architecture: str | None
    memory: str | None
    set: str | None  # a reference, as for `Registry.find`
    metric: str | None
    profile: str | None
    recipe_id: str | None
    steps: int | None


CHANCE = ("accuracy", "macro_accuracy")  # the metrics of which a diverged network has the value of chance, 1/K
DIVERGED = "diverged"  # the metric of the only row of a network that diverged

NOTED = "json_extract(detail, '$.policy', '$.validation', '$.grid.edge', '$.diverged')"


class CellKey(NamedTuple):
    """What the values of one mean have in common. `noted` is JSON: the values of `NOTED` in `detail`."""

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
    """The values of one cell by repeat, and their learning rates."""

    values: dict[int, float]
    rates: set[float]


def recipe_id(name: str, config: Mapping[str, Any]) -> str:
    """The id of a training recipe, whether it is stored or not. Raises RegistryError if its config cannot be stored."""
    from satm.canonical import digest

    to_json(config)  # only for its RegistryError: `digest` raises a bare TypeError or ValueError
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
        """The recipe with this id; raises RegistryError if there is none."""
        return self._one(RecipeRecord, "recipes", recipe_id)

    def recipe_name(self, recipe_id: str) -> str:
        """The name of the recipe with this id; raises RegistryError if there is none."""
        names = self._recipe_names
        if recipe_id not in names:
            names[recipe_id] = self.recipe(recipe_id).name
        return names[recipe_id]

    @cached_property
    def _recipe_names(self) -> dict[str, str]:
        return {}  # recipes never change

    def add_results(self, rows: Sequence[ResultRow]) -> None:
        """Store results: all of them, or none if one fails. A result that is already stored is replaced.

        Each row gets a checksum. The table `result_history` keeps a row that is replaced by another one. The run that
        measured the rows counts as alive now.
        """
        stored = [to_row(row) for row in rows]
        for row in stored:
            row["checksum"] = checksum([row[name] for name in COLUMNS])
        with self._writing() as db:
            db["results"].insert_all(stored, replace=True)
            for run_id in {row.run_id for row in rows if row.run_id is not None}:
                db.execute("UPDATE runs SET updated = ? WHERE id = ?", [now(), run_id])

    def results(self, **filters: Unpack[ResultFilters]) -> list[ResultRow]:
        """Single results, ordered by the columns that identify them."""
        clause, values = self._wanted(filters)
        return self._rows(
            ResultRow,
            "SELECT results.* FROM results JOIN (SELECT id AS set_id, dataset, method, ipc FROM sets) USING (set_id) "
            f"{clause} ORDER BY set_id, protocol, architecture, memory, recipe_id, steps, metric, repeat, step",
            values,
        )

    def stored_values(self, column: str) -> list[str]:
        """The different values that a column of the results has, sorted. `column` is a field of `ResultRow`."""
        assert column in ResultRow.__slots__
        found = self._mappings(f"SELECT DISTINCT {column} AS value FROM results ORDER BY value")
        return [row["value"] for row in found]

    def measured_since(self, when: str) -> set[tuple[str, str, str, str, str, int]]:
        """What was measured at `when` (ISO 8601, UTC) or later: id of the set, protocol, architecture, memory, id of
        the recipe, steps. The time of a result is that of its run's last heartbeat, else that of its set."""
        rows = self._tuples(
            "SELECT DISTINCT results.set_id, protocol, architecture, memory, recipe_id, steps FROM results "
            "JOIN sets ON sets.id = results.set_id LEFT JOIN runs ON runs.id = results.run_id "
            "WHERE coalesce(runs.updated, sets.created) >= ?",
            [when],
        )
        return set(rows)

    def damaged_results(self, set_id: str | None = None) -> list[str]:
        """A line for each result, replaced result and recipe whose checksum or id is wrong: something changed it."""
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
        """The rows that other rows replaced, oldest first, by column; `replaced` says when. No mean counts them."""
        clause, values = where({"set_id": set_id})
        return self._mappings(f"SELECT * FROM result_history {clause} ORDER BY seq", values)

    def verify(self, reference: str | None = None) -> list[str]:
        """The problems of a set and its results, or of the whole file, a line each; none if every hash is right."""
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
        """The values of result rows, collected by everything but their repeat; in no order.

        It reads a million rows in seconds, since it makes no record of each. `sets` are ids; None: all sets.
        `without` leaves out metrics that match one of these GLOB patterns; `last_only` all steps except the last.
        `rather` leaves out other metrics than these of a network that has one of these, or diverged, at its last step.
        A filter of an accuracy also finds the rows of the metric `diverged`.

        Raises RegistryError for a row that is damaged, and the errors of `results`.
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
        """Mean, population standard deviation and n over repeats, separately for each step of a stream.

        Of class-incremental results they are over class orders, each with the mean of its networks. Results of
        different profiles or recipes are never averaged together.
        """
        clause, values = self._wanted(filters)
        return self._rows(
            SummaryRow,
            f"SELECT * FROM summary {clause} "
            "ORDER BY dataset, ipc, protocol, metric, architecture, memory, set_name, profile, recipe, steps, step",
            values,
        )

    def _wanted(self, filters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """The WHERE clause of `filters` and its values; "" if no filter is set.

        Raises TypeError for an unknown filter, and RegistryError if `set` names no set or several.
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
