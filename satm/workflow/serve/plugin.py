"""A plugin of datasette that shows the images of sets, and that shows errors as a page without a traceback.

The images are shown in the table of sets and in every column with the name `grid`.
"""

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
    """Show the images of a set in a cell that holds the set's id. None: datasette shows the cell in its usual way."""
    shown = column == GRID or (table == "sets" and column == "id")
    if not shown or not isinstance(value, str) or not _ID.fullmatch(value):
        return None
    return picture_cell(datasette.urls.path(f"/-/grids/{value}"), value)


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """Register the address of a set's picture, which contains the set's id."""
    return [(r"^/-/grids/(?P<id>[0-9a-f]{64})$", _picture)]


@hookimpl
def handle_exception(datasette: Any, request: Any, exception: Exception) -> Any:
    """Answer an error with a page, or with JSON, that has the error's message and no traceback.

    The HTTP status comes from attribute `status`, which datasette's own errors have. For other errors it is 500.
    """
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
    """The media type and the content of a set's picture.

    If the images cannot be shown, the picture contains the error message.
    """
    from satm.report.grid import grid_png

    try:
        with Registry.open(path, must_exist=True, read_only=True) as store:
            shown = grid_png(store.load(set_id))
    except SatmError as error:
        return "image/svg+xml", no_picture(str(error))
    return "image/png", shown.enlarged()
