"""The text of a value that is hashed, and the hash. Ids of sets, runs, recipes and groups are such hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """The JSON text that is hashed: sorted keys, no spaces, no NaN, so that equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, as hex."""
    # File names need not be UTF-8. Python holds their other bytes as surrogates, which only `surrogatepass` encodes.
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()
