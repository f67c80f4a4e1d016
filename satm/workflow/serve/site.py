"""Sets datasette up for a registry file. The file is opened in the same way as by every command that reads it."""

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
    "suggest_facets": False,  # datasette would try every column of a view, which is slow; `metadata` has useful facets
    "truncate_cells_html": 120,  # characters shown of a cell, because the description of a set is a long JSON text
    "allow_download": False,
}


@contextmanager
def browsing(registry: Path) -> Iterator[Any]:
    """Context manager: a `Datasette` object that shows the registry and cannot write to it.

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
        pass  # raises an error now, before anything is served, if the file cannot be read

    class Read(Database):  # type: ignore[misc]
        """The registry as a database of datasette.

        It opens the file by `Registry.open`, and not by datasette's own code, which does not quote the file's name and
        cannot read files in some folders, such as a read-only one.
        """

        def __init__(self, app: Any, path: Path) -> None:
            super().__init__(app, path=str(path))
            self.registry = path

        def connect(self, write: bool = False) -> sqlite3.Connection:
            """Open a connection for the calling thread. The connection refuses to write."""
            return Registry.open(self.registry, must_exist=True, read_only=True).connection

        async def execute(self, sql: str, params: Any = None, **options: Any) -> Any:
            """The rows of a query. If the query fails, the error is raised, and datasette does not print it too."""
            return await super().execute(sql, params, **options | {"log_sql_errors": False})

    with _plugged(pm, plugin):
        app = Datasette(metadata=metadata(registry.name), settings=_SETTINGS)
        app.add_database(Read(app, registry), name=DATABASE)
        try:
            yield app
        finally:
            app.executor.shutdown()
            # The threads of datasette have ended, but their connections are still held by objects that refer to each
            # other. The garbage collector frees them.
            gc.collect()


@contextmanager
def _plugged(manager: Any, plugin: Any) -> Iterator[None]:
    """Context manager: `plugin` replaces datasette's own error handler in the block.

    Datasette's own handler must be removed, because it would run beside that of `plugin`, and it prints tracebacks.
    """
    name = "datasette.handle_exception"
    own = manager.unregister(name=name)
    manager.register(plugin)
    try:
        yield
    finally:
        manager.unregister(plugin)
        manager.register(own, name)
