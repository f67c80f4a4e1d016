"""A plugin of datasette: images of sets in the table of sets and in every column `grid`, and errors as a page only."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from datasette import Response, hookimpl

from registry import Registry
from satm.errors import SatmError
from satm.report.cell import no_picture, picture_cell
from satm.workflow.serve.queries import DATABASE, GRID

_ID = re.compile(r"[0-9a-f]{64}")


@hookimpl
def render_cell(value: Any, column: str, table: str | None, datasette: Any) -> Any:
    """The images of a set in place of its id; None leaves a cell to datasette."""
    shown = column == GRID or (table == "sets" and column == "id")
    if not shown or not isinstance(value, str) or not _ID.fullmatch(value):
        return None
    return picture_cell(datasette.urls.path(f"/-/grids/{value}"), value)


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """The address of a picture."""
    return [(r"^/-/grids/(?P<id>[0-9a-f]{64})$", _picture)]


@hookimpl
def handle_exception(datasette: Any, request: Any, exception: Exception) -> Any:
    """An error is a page with its message, and no traceback. `status` is in datasette's own errors."""
    status = getattr(exception, "status", None) or 500

    async def page() -> Any:
        facts = {"ok": False, "error": str(exception), "status": status, "title": None}
        if request.path.endswith(".json"):
            return Response.json(facts, status=status)
        return Response.html(await datasette.render_template("error.html", facts, request=request), status=status)

    return page


async def _picture(request: Any, datasette: Any) -> Any:
    path: Path = datasette.get_database(DATABASE).registry
    kind, body = await asyncio.to_thread(_drawn, path, request.url_vars["id"])
    return Response(body, content_type=kind, headers={"Cache-Control": "private, max-age=3600"})


def _drawn(path: Path, set_id: str) -> tuple[str, bytes | str]:
    """The type and content of a set's picture; what is wrong, as a picture, if it cannot be shown."""
    from satm.report.grid import grid_png

    try:
        with Registry.open(path, must_exist=True, read_only=True) as store:
            shown = grid_png(store.load(set_id))
    except SatmError as error:
        return "image/svg+xml", no_picture(str(error))
    return "image/png", shown.enlarged()
