"""The settings of the pages that datasette shows: titles, facets (filters with counts), and named queries."""

from __future__ import annotations

from typing import Any

DATABASE = "satm"  # the registry's name in every web address; it does not depend on the name of the file
GRID = "grid"  # in a column with this name, the id of a set is shown as the set's images

_HIDDEN = ("blobs", "identities", "predictions", "result_history", "set_groups", "tests", "totals")
_FACETS = {
    "sets": ["dataset", "method", "ipc", "profile"],
    "runs": ["kind", "status", "dataset", "method"],
    "results": ["protocol", "architecture", "metric", "memory", "profile"],
    "summary": ["dataset", "protocol", "architecture", "metric"],
    "leaderboard": ["dataset", "ipc", "protocol", "architecture", "metric"],
    "incremental": ["set_name", "protocol", "architecture"],
}
_QUERIES = {
    "gallery": (
        "The newest sets with their images",
        f"SELECT id AS {GRID}, name, profile, images, step_size, created FROM sets ORDER BY seq DESC LIMIT 50",
    ),
    "best": (
        "The best set of each comparison: highest mean accuracy at equal data set, IPC, protocol and recipe",
        "SELECT dataset, ipc, protocol, architecture, memory, profile, recipe, set_name, mean, std, n FROM leaderboard "
        "WHERE metric = 'accuracy' AND place = 1",
    ),
    "stream": (
        "Accuracy after each incremental step of a set, such as digits/ipc1/satm@1",
        "SELECT protocol, architecture, memory, steps, step, mean, std, n FROM incremental WHERE set_name = :set",
    ),
    "curve": (
        "A metric of a run over its steps; the run's id is in the table runs, `loss` is one metric",
        "SELECT step, value FROM metrics WHERE run_id = :run AND name = :metric ORDER BY step",
    ),
    "unfinished": (
        "Runs that are under way, failed or were interrupted",
        "SELECT id, kind, status, dataset, method, ipc, profile, seed, started FROM runs WHERE status != 'done' "
        "ORDER BY seq DESC",
    ),
}


def metadata(registry: str) -> dict[str, Any]:
    """The metadata that datasette needs for the registry file with the name `registry`."""
    tables: dict[str, Any] = {name: {"hidden": True} for name in _HIDDEN}
    tables |= {name: {"facets": facets} for name, facets in _FACETS.items()}
    tables["sets"] |= {"label_column": "name", "sort_desc": "seq"}
    tables["runs"] |= {"sort_desc": "seq"}
    return {
        "title": "satm registry",
        "description": f"{registry}, read-only. Numbers at profile cpu or smoke are not those of a publication.",
        "databases": {
            DATABASE: {
                "queries": {name: {"title": title, "sql": sql} for name, (title, sql) in _QUERIES.items()},
                "tables": tables,
            }
        },
    }
