"""The checksum of a stored result row. It no longer fits the row if another program has changed the row."""

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
"""The columns of a result row that its checksum covers, in this order. The columns up to `metric` identify the row."""

# The places in `COLUMNS` of the columns that hold floats.
_REAL = frozenset(COLUMNS.index(name) for name in ("value", "step_size"))


def checksum(values: Sequence[Any]) -> str:
    """Return the first 16 hex digits of the sha256 of a row. `values` are its `COLUMNS` as SQLite stores them."""
    # An integer in a float column is converted, so that 1 and 1.0 have the same checksum. The text of a float is exact:
    # Python writes the shortest text from which the same float can be read again. In a damaged file a column may hold
    # any type, so other values are left as they are.
    plain = [
        float(value) if place in _REAL and isinstance(value, int | float) else value
        for place, value in enumerate(values)
    ]
    text = json.dumps(plain, ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
