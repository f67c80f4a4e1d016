"""Registry files of every schema, as `make.py` made them."""

from __future__ import annotations

import gzip
from pathlib import Path

HERE = Path(__file__).parent
SCHEMAS = sorted(int(kept.name.split(".")[0].removeprefix("schema_")) for kept in HERE.glob("schema_*.db.gz"))


def unpack(schema: int, path: Path) -> Path:
    """The kept file of this schema, at `path`."""
    path.write_bytes(gzip.decompress((HERE / f"schema_{schema}.db.gz").read_bytes()))
    return path
