"""Makes a hash of a value by writing the value as JSON text. Ids of sets, runs, recipes and groups use such hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return the JSON text of a value with sorted keys and without spaces, so that equal values have equal texts.

    Raises ValueError for NaN and infinity, and TypeError for a value that JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of a value, as hex digits."""
    # A file name may contain bytes that are not UTF-8. Python represents such bytes by surrogate characters, which can
    # be encoded only with `surrogatepass`.
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()
