"""The checksum of a stored result: it shows a row that something else than the suite has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

COLUMNS = (
    "set_id",
    "protocol",
    "architecture",
    "memory",
    "recipe_id",
    "steps",
    "repeat",
    "step",
    "metric",
    "value",
    "profile",
    "seed",
    "step_size",
    "detail",
    "run_id",
)
"""The columns of a result that its checksum covers: all of them, in this order. Those up to `metric` are its key."""

_REAL = frozenset(COLUMNS.index(name) for name in ("value", "step_size"))


def checksum(values: Sequence[Any]) -> str:
    """The first 16 hex digits of the sha256 of a row; `values` are its `COLUMNS` as SQLite stores them."""
    # Python writes each float as the shortest text that reads back as the same float. In a damaged file a column may
    # hold anything.
    plain = [
        float(value) if place in _REAL and isinstance(value, int | float) else value
        for place, value in enumerate(values)
    ]
    text = json.dumps(plain, ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
