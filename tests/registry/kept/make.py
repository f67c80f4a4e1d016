"""Makes `schema_N.db.gz`: a small registry as the first N migrations leave it, with a row in every table it has.

Run it after a new migration, as `python -m tests.registry.kept.make`: it makes the files that are not there yet. A file
that is there stays, because it shows what older code really left.
"""

from __future__ import annotations

import gzip
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

from registry import PredictionRow, Registry, migrations
from registry.predictions import images_digest
from tests.registry.helpers import a_set, result, start

HERE = Path(__file__).parent


def fill(path: Path) -> None:
    """A registry of the newest schema: two sets of a group, their runs, results, predictions, and a stopped run."""
    import numpy as np

    targets = np.array([0, 1, 1])
    with Registry.open(path) as registry:
        recipe = registry.add_recipe("smoke", {"epochs": 2})
        for seed in (0, 1):
            run = start(registry, f"done {seed}", seed=seed, method="satm", ipc=2)
            record = registry.add_set(replace(a_set(seed), config={}), run=run)
            registry.add_metrics(run, [(0, "loss", 0.5), (1, "loss", 0.25)])
            registry.finish_run(run, status="done", set_id=record.id, add_seconds=2.0)
            registry.add_results(
                [result(record.id, recipe, repeat=repeat, value=0.5 + seed / 4 + repeat / 8) for repeat in (0, 1)]
                + [result(record.id, recipe, protocol="class-incremental", steps=2, step=s, value=0.5) for s in (1, 2)]
            )
            registry.add_predictions(
                [
                    PredictionRow(
                        set_id=record.id,
                        protocol="cross-arch",
                        architecture="resnet18",
                        memory="condensed",
                        recipe_id=recipe,
                        repeat=0,
                        test=images_digest(np.zeros((3, 1)), targets),
                        num_classes=2,
                        predicted=targets,
                        targets=targets,
                    )
                ]
            )
        stopped = start(registry, "stopped", seed=2, method="satm", ipc=2)
        registry.finish_run(stopped, status="interrupted", message="stopped after outer step 1 of 10")


def older(full: Path, schema: int, path: Path) -> None:
    """The rows of `full` in a file that only the first `schema` migrations have seen: the columns that it has."""
    from sqlite_utils import Database, Migrations

    db = Database(sqlite3.connect(path))
    db.execute("PRAGMA page_size = 512")
    steps = Migrations("satm")
    for step in migrations.STEPS[:schema]:
        steps(name=step.__name__)(step)
    steps.apply(db)
    db.execute("ATTACH ? AS full", [str(full)])
    for table in db.table_names():
        if table != "_sqlite_migrations":
            columns = ", ".join(f'"{column.name}"' for column in db[table].columns)
            db.execute(f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM full.{table}")
    db.conn.commit()
    db.close()


def make() -> None:
    """Make each file that is missing."""
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "full.db"
        fill(full)
        for schema in range(1, len(migrations.STEPS) + 1):
            kept, plain = HERE / f"schema_{schema}.db.gz", Path(folder) / f"{schema}.db"
            if not kept.exists():
                older(full, schema, plain)
                kept.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))


if __name__ == "__main__":
    make()
