"""datasette on a registry file, opened as every command that reads opens it."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry import Registry
from satm.errors import ConfigError
from satm.workflow.serve.queries import DATABASE, metadata

_SETTINGS = {
    "sql_time_limit_ms": 20_000,  # some views count every result
    "facet_time_limit_ms": 2_000,
    "suggest_facets": False,  # a try for every column of a view takes long, and the useful facets are there
    "truncate_cells_html": 120,  # characters; a description is a page of JSON
    "allow_download": False,
}


@contextmanager
def browsing(registry: Path) -> Iterator[Any]:
    """A `Datasette` that shows the registry and cannot write it.

    Raises ConfigError if datasette is not installed, and the errors of `Registry.open` if the file cannot be read.
    """
    try:
        from datasette.app import Datasette
        from datasette.database import Database
        from datasette.plugins import pm
    except ImportError:
        raise ConfigError("datasette is not installed; install it with: pip install 'satm[serve]'") from None
    from satm.workflow.serve import plugin

    with Registry.open(registry, must_exist=True, read_only=True):
        pass  # what is wrong with the file is said before anything is served

    class Read(Database):  # type: ignore[misc]
        """The registry. datasette's own way to open a file does not quote its name and cannot read every folder."""

        def __init__(self, app: Any, path: Path) -> None:
            super().__init__(app, path=str(path))
            self.registry = path

        def connect(self, write: bool = False) -> sqlite3.Connection:
            """A connection of the thread that calls; it refuses to write."""
            return Registry.open(self.registry, must_exist=True, read_only=True).connection

        async def execute(self, sql: str, params: Any = None, **options: Any) -> Any:
            """The rows of a query. An error is raised and not also printed."""
            return await super().execute(sql, params, **options | {"log_sql_errors": False})

    with _plugged(pm, plugin):
        app = Datasette(metadata=metadata(registry.name), settings=_SETTINGS)
        app.add_database(Read(app, registry), name=DATABASE)
        try:
            yield app
        finally:
            app.executor.shutdown()
            gc.collect()  # its threads have ended, but cycles of objects still hold their connections


@contextmanager
def _plugged(manager: Any, plugin: Any) -> Iterator[None]:
    """`plugin` in place of datasette's own handler of errors, which runs beside any other and prints tracebacks."""
    name = "datasette.handle_exception"
    own = manager.unregister(name=name)
    manager.register(plugin)
    try:
        yield
    finally:
        manager.unregister(plugin)
        manager.register(own, name)
