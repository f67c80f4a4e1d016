"""The part of the registry for results: evaluated numbers, the recipes of their evaluations, means over repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from registry.groups import Groups
from registry.records import RecipeRecord, ResultRow, SummaryRow, to_json, to_row
from registry.store import now, where


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

    def add_results(self, rows: Sequence[ResultRow]) -> None:
        """Store results: all of them, or none if one fails. A result that is already stored is replaced."""
        with self._writing() as db:
            db["results"].insert_all(map(to_row, rows), replace=True)

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
