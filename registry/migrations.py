"""The schema of the registry, as numbered migration steps from an empty file to the newest version.

A stored file may have been made by any older version, so never change a step: add a new step at the end. A step that
changes rows or columns of a table in `registry.totals.TABLES` must call `registry.totals.fill` at its end.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

from satm.errors import RegistryError

# The name of this list of steps in sqlite_utils, and the table in which sqlite_utils stores which steps were applied.
NAME, TABLE = "satm", "_sqlite_migrations"


def m001_tables(db: Any) -> None:
    """Add the first tables. The rows of sets and blobs never change after they are written."""
    db.executescript("""
        CREATE TABLE environments (
            id TEXT PRIMARY KEY NOT NULL,
            facts TEXT NOT NULL,
            created TEXT NOT NULL
        ) STRICT;
        CREATE TABLE recipes (
            id TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL,
            config TEXT NOT NULL,
            created TEXT NOT NULL
        ) STRICT;
        CREATE TABLE blobs (
            sha256 TEXT PRIMARY KEY NOT NULL,
            size INTEGER NOT NULL,
            data BLOB NOT NULL
        ) STRICT;
        CREATE TABLE runs (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            "key" TEXT NOT NULL,
            kind TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted')),
            dataset TEXT NOT NULL,
            method TEXT,
            ipc INTEGER,
            profile TEXT NOT NULL,
            seed INTEGER NOT NULL,
            device TEXT NOT NULL,
            environment_id TEXT NOT NULL REFERENCES environments (id),
            command TEXT NOT NULL,
            config TEXT NOT NULL,
            set_id TEXT REFERENCES sets (id),
            message TEXT NOT NULL,
            seconds REAL NOT NULL,
            sessions INTEGER NOT NULL,
            started TEXT NOT NULL,
            updated TEXT NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX one_open_run_a_key ON runs ("key") WHERE status != 'done';
        CREATE INDEX runs_by_key ON runs ("key");
        CREATE TABLE sets (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL UNIQUE,
            dataset TEXT NOT NULL,
            ipc INTEGER NOT NULL,
            method TEXT NOT NULL,
            version INTEGER NOT NULL,
            profile TEXT NOT NULL,
            label_kind TEXT NOT NULL,
            step_size REAL,
            seed INTEGER NOT NULL,
            images INTEGER NOT NULL,
            image_shape TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            about TEXT NOT NULL,
            parents TEXT NOT NULL,
            blobs TEXT NOT NULL,
            run_id TEXT REFERENCES runs (id),
            created TEXT NOT NULL,
            UNIQUE (dataset, ipc, method, version)
        ) STRICT;
        CREATE TRIGGER sets_never_change BEFORE UPDATE ON sets
            BEGIN SELECT RAISE(ABORT, 'sets never change; add a new version'); END;
        CREATE TRIGGER blobs_never_change BEFORE UPDATE ON blobs
            BEGIN SELECT RAISE(ABORT, 'blobs never change'); END;
        CREATE TABLE metrics (
            run_id TEXT NOT NULL REFERENCES runs (id),
            name TEXT NOT NULL,
            step INTEGER NOT NULL,
            value REAL,
            PRIMARY KEY (run_id, name, step)
        ) STRICT;
        CREATE TABLE results (
            set_id TEXT NOT NULL REFERENCES sets (id),
            protocol TEXT NOT NULL,
            architecture TEXT NOT NULL,
            memory TEXT NOT NULL,
            recipe_id TEXT NOT NULL REFERENCES recipes (id),
            steps INTEGER NOT NULL,
            repeat INTEGER NOT NULL,
            step INTEGER NOT NULL CHECK (step BETWEEN 1 AND steps),
            metric TEXT NOT NULL,
            value REAL NOT NULL,
            profile TEXT NOT NULL,
            seed INTEGER NOT NULL,
            step_size REAL NOT NULL,
            detail TEXT NOT NULL,
            run_id TEXT REFERENCES runs (id),
            PRIMARY KEY (set_id, protocol, architecture, memory, recipe_id, steps, repeat, step, metric)
        ) STRICT;
    """)


def m002_views(db: Any) -> None:
    """Add views with means over repeats.

    `summary` has every metric at every incremental step, `leaderboard` only the last step, and `incremental` the
    accuracy at every step of a class-incremental stream.
    """
    db.executescript("""
        CREATE VIEW summary AS
        SELECT set_name, set_id, dataset, ipc, method, profile, protocol, architecture, memory, recipe, recipe_id,
               steps, step, metric, mean, sqrt(avg((value - mean) * (value - mean))) AS std, count(*) AS n
        FROM (
            SELECT sets.name AS set_name, results.set_id, sets.dataset, sets.ipc, sets.method, results.profile,
                   protocol, architecture, memory, recipes.name AS recipe, recipe_id, steps, step, metric, value,
                   avg(value) OVER (
                       PARTITION BY set_id, results.profile, protocol, architecture, memory, recipe_id, steps, step,
                                    metric
                   ) AS mean
            FROM results JOIN sets ON sets.id = results.set_id JOIN recipes ON recipes.id = results.recipe_id
        )
        GROUP BY set_id, profile, protocol, architecture, memory, recipe_id, steps, step, metric;
        CREATE VIEW leaderboard AS
        SELECT * FROM summary WHERE step = steps ORDER BY dataset, protocol, metric, architecture, ipc, mean DESC;
        CREATE VIEW incremental AS
        SELECT * FROM summary WHERE protocol = 'class-incremental' AND metric = 'accuracy'
        ORDER BY set_name, architecture, memory, recipe_id, steps, step;
    """)


def m003_protocols(db: Any) -> None:
    """Change the view `incremental`: it shows every class-incremental protocol, not only the default GDumb."""
    db.executescript("""
        DROP VIEW incremental;
        CREATE VIEW incremental AS
        SELECT * FROM summary
        WHERE (protocol = 'class-incremental' OR protocol LIKE 'class-incremental/%') AND metric = 'accuracy'
        ORDER BY set_name, protocol, architecture, memory, recipe_id, steps, step;
    """)


def m004_predictions(db: Any) -> None:
    """Add the table `predictions`, with the class that each network predicts for each test image.

    The table `tests` holds the true classes, once for all networks that were tested on the same images.
    """
    db.executescript("""
        CREATE TABLE tests (
            id TEXT PRIMARY KEY NOT NULL,
            num_classes INTEGER NOT NULL,
            images INTEGER NOT NULL,
            targets BLOB NOT NULL
        ) STRICT;
        CREATE TABLE predictions (
            set_id TEXT NOT NULL REFERENCES sets (id),
            protocol TEXT NOT NULL,
            architecture TEXT NOT NULL,
            memory TEXT NOT NULL,
            recipe_id TEXT NOT NULL REFERENCES recipes (id),
            steps INTEGER NOT NULL,
            repeat INTEGER NOT NULL,
            step INTEGER NOT NULL,
            test TEXT NOT NULL REFERENCES tests (id),
            predicted BLOB NOT NULL,
            run_id TEXT REFERENCES runs (id),
            PRIMARY KEY (set_id, protocol, architecture, memory, recipe_id, steps, repeat, step)
        ) STRICT;
    """)


def _leaderboard(lower: str) -> str:
    """Return the SQL of the view that `m005_policies` makes from `summary`.

    `lower` lists the metrics that are better if they are lower.
    """
    return f"""
        CREATE VIEW leaderboard AS
        SELECT *, rank() OVER (
            PARTITION BY dataset, ipc, protocol, architecture, profile, recipe_id, policy, steps, metric
            ORDER BY CASE WHEN metric IN ({lower}) THEN 1 ELSE -1 END * coalesce(mean_all, mean)
        ) AS place
        FROM summary WHERE step = steps
        ORDER BY dataset, protocol, profile, recipe, policy, metric, architecture, ipc, steps, place;
    """


def m005_policies(db: Any) -> None:
    """Replace the views `summary` and `leaderboard`.

    They now separate the policies of the learning rate, count the diverged networks, and rank comparable results.
    A diverged network has a single row, with the metric `diverged`. In `summary`, the column `diverged` is the number
    of diverged networks; `n` and `mean` leave them out; `mean_all` uses the accuracy of a guess, 1/K for K classes, for
    each of them, and is NULL for other metrics than accuracies if a network diverged. `place` in `leaderboard` is the
    rank among results that agree in data set, IPC, protocol, architecture, profile, recipe, policy, steps and metric.

    For class-incremental results, `summary` first takes the mean over the networks of each class order (repeat = order
    + 1000 · network), because these networks are not independent. Then it takes the mean, standard deviation and n over
    the orders. In other protocols every repeat has the same weight.
    """
    cell = "set_id, profile, protocol, architecture, memory, recipe_id, policy, steps"
    incremental = "protocol = 'class-incremental' OR protocol LIKE 'class-incremental/%'"
    unit = f"CASE WHEN {incremental} THEN repeat % 1000 ELSE repeat END"
    columns = f"{cell}, step, step_size AS rate"
    chance = "1.0 / json_array_length(json_extract(sets.about, '$.classes'))"
    lower = "'negative_log_likelihood', 'expected_calibration_error', 'forgetting', 'old_class_drop'"
    db.executescript(f"""
        DROP VIEW leaderboard;
        DROP VIEW summary;
        CREATE VIEW summary AS
        WITH rated AS (
            SELECT *, CASE
                WHEN json_extract(detail, '$.policy') LIKE 'grid%' THEN 'grid'
                WHEN json_extract(detail, '$.policy') LIKE 'learned%' THEN 'learned'
                ELSE json_extract(detail, '$.policy')
            END AS policy FROM results
        ),
        lost AS (
            SELECT {cell}, count(*) AS diverged FROM rated WHERE metric = 'diverged' GROUP BY {cell}
        ),
        valued AS (
            SELECT {columns}, metric, value, {unit} AS unit FROM rated WHERE metric != 'diverged'
            UNION ALL
            SELECT {columns}, 'accuracy', NULL, {unit} AS unit FROM rated WHERE metric = 'diverged'
        ),
        units AS (
            SELECT {cell}, step, metric, min(rate) AS rate, avg(value) AS value
            FROM valued GROUP BY {cell}, step, metric, unit
        ),
        centred AS (
            SELECT *, avg(value) OVER (PARTITION BY {cell}, step, metric) AS mean
            FROM units LEFT JOIN lost USING ({cell})
        )
        SELECT sets.name AS set_name, set_id, sets.dataset, sets.ipc, sets.method, centred.profile, protocol,
               architecture, memory, recipes.name AS recipe, recipe_id, steps, step, metric, mean,
               sqrt(avg((value - mean) * (value - mean))) AS std, count(value) AS n, policy,
               CASE WHEN min(rate) = max(rate) THEN min(rate) END AS rate,
               coalesce(diverged, 0) AS diverged,
               CASE
                   WHEN diverged IS NULL THEN mean
                   WHEN metric IN ('accuracy', 'macro_accuracy')
                       THEN (total(value) + diverged * {chance}) / (count(value) + diverged)
               END AS mean_all
        FROM centred JOIN sets ON sets.id = set_id JOIN recipes ON recipes.id = recipe_id
        GROUP BY {cell.replace("profile", "centred.profile")}, step, metric;
        {_leaderboard(lower)}
    """)


def m006_groups(db: Any) -> None:
    """Add the table of the groups of each set (`registry.groups`), and two views.

    `groups` shows the sets of each group. `group_summary` shows for each group the mean of the means of its sets.
    """
    from registry.group_ids import membership_rows

    db.executescript("""
        CREATE TABLE set_groups (
            set_id TEXT NOT NULL REFERENCES sets (id),
            group_id TEXT NOT NULL,
            experts TEXT NOT NULL,
            PRIMARY KEY (set_id, group_id)
        ) STRICT;
        CREATE INDEX sets_by_group ON set_groups (group_id);
        CREATE VIEW groups AS
        SELECT group_id, dataset, ipc, method, profile, experts, count(*) AS sets,
               group_concat(version) AS versions, group_concat(seed) AS seeds
        FROM (SELECT * FROM set_groups JOIN sets ON sets.id = set_groups.set_id ORDER BY seed)
        GROUP BY group_id;
    """)
    db.execute(_group_summary("set_groups"))
    for set_id, about, parents in db.execute("SELECT id, about, parents FROM sets").fetchall():
        db["set_groups"].insert_all(membership_rows(set_id, json.loads(about), json.loads(parents)))


def _group_summary(members: str) -> str:
    """Return the SQL of the view of the means of groups.

    `members` is a table with the columns group_id and set_id. Its sets are those that count.
    """
    return f"""
        CREATE VIEW group_summary AS
        SELECT group_id, dataset, ipc, method, profile, protocol, architecture, memory, recipe, recipe_id, policy,
               steps, step, metric, centre AS mean,
               CASE WHEN count(*) > 1 THEN sqrt(sum((value - centre) * (value - centre)) / (count(*) - 1)) END
                   AS std_of_set_means,
               count(*) AS condensations, min(units) AS networks, sum(diverged) AS diverged
        FROM (
            SELECT group_id, summary.*, coalesce(mean_all, mean) AS value, n + diverged AS units,
                   avg(coalesce(mean_all, mean)) OVER (
                       PARTITION BY group_id, profile, protocol, architecture, memory, recipe_id, policy, steps,
                                    step, metric
                   ) AS centre
            FROM summary JOIN {members} USING (set_id) WHERE coalesce(mean_all, mean) IS NOT NULL
        )
        GROUP BY group_id, profile, protocol, architecture, memory, recipe_id, policy, steps, step, metric
    """


def m007_identity(db: Any) -> None:
    """Add the UUID of the file. The keys of its runs contain the UUID, so they stay valid if the file is moved.

    The row with seq 1 is the UUID of this file. The other rows are the UUIDs of registries that were merged into this
    file or that it is a copy of. The keys of older runs contain the path of the file instead. `former_path` is the path
    at the time of this migration, if the file had runs then.
    """
    db.execute("""
        CREATE TABLE identities (
            seq INTEGER PRIMARY KEY,
            uuid TEXT NOT NULL UNIQUE,
            former_path TEXT
        ) STRICT
    """)
    (path,) = (file for _, name, file in db.execute("PRAGMA database_list").fetchall() if name == "main")
    (runs,) = db.execute("SELECT count(*) FROM runs").fetchone()
    former = str(Path(path).resolve()) if runs else None
    db.execute("INSERT INTO identities (uuid, former_path) VALUES (?, ?)", [str(uuid4()), former])


def m008_result_history(db: Any) -> None:
    """Add a checksum to each result row, and the table `result_history` of all rows that were replaced.

    No mean uses the replaced rows.
    """
    from registry.checksums import COLUMNS, checksum

    db.execute("ALTER TABLE results ADD COLUMN checksum TEXT")
    names = ", ".join(COLUMNS)
    db.conn.create_function("row_checksum", len(COLUMNS), lambda *values: checksum(values), deterministic=True)
    db.execute(f"UPDATE results SET checksum = row_checksum({names})")
    db.execute("""
        CREATE TABLE result_history (
            seq INTEGER PRIMARY KEY,
            set_id TEXT NOT NULL REFERENCES sets (id),
            protocol TEXT NOT NULL,
            architecture TEXT NOT NULL,
            memory TEXT NOT NULL,
            recipe_id TEXT NOT NULL REFERENCES recipes (id),
            steps INTEGER NOT NULL,
            repeat INTEGER NOT NULL,
            step INTEGER NOT NULL,
            metric TEXT NOT NULL,
            value REAL NOT NULL,
            profile TEXT NOT NULL,
            seed INTEGER NOT NULL,
            step_size REAL NOT NULL,
            detail TEXT NOT NULL,
            run_id TEXT REFERENCES runs (id),
            checksum TEXT,
            replaced TEXT NOT NULL
        ) STRICT
    """)
    key = COLUMNS[: COLUMNS.index("metric") + 1]
    same = " AND ".join(f"{name} = NEW.{name}" for name in key)
    db.execute(f"CREATE INDEX history_of_results ON result_history ({', '.join(key)})")
    # By default SQLite fires no trigger for a row that INSERT OR REPLACE deletes. So the old row is copied before the
    # insert.
    for name, event in (("replaced", "INSERT"), ("changed", "UPDATE")):
        db.execute(f"""
            CREATE TRIGGER results_are_{name} BEFORE {event} ON results BEGIN
                INSERT INTO result_history ({names}, checksum, replaced)
                SELECT {names}, checksum, strftime('%Y-%m-%dT%H:%M:%f+00:00') FROM results
                WHERE {same} AND checksum IS NOT NEW.checksum;
            END
        """)
    db.execute(f"""
        CREATE VIEW replaced_results AS
        SELECT sets.name AS set_name, recipes.name AS recipe, history.*, results.value AS value_now
        FROM result_history AS history
        JOIN sets ON sets.id = history.set_id JOIN recipes ON recipes.id = history.recipe_id
        LEFT JOIN results USING ({", ".join(key)})
        ORDER BY history.seq
    """)


def m009_sessions(db: Any) -> None:
    """Add columns to `runs`: the host, process, start time of the process, folder and arguments of the last session.

    A session is one call of a command that works on the run. The new columns are NULL in older runs.
    """
    for column, kind in {
        "host": "TEXT",
        "pid": "INTEGER",
        "process_started": "REAL",
        "folder": "TEXT",
        "arguments": "TEXT",
    }.items():
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} {kind}")


def m010_tags(db: Any) -> None:
    """Add tags: names that a user gives to sets. A tag names one set, but a set may have several tags."""
    db.execute("""
        CREATE TABLE tags (
            name TEXT PRIMARY KEY NOT NULL,
            set_id TEXT NOT NULL REFERENCES sets (id),
            created TEXT NOT NULL
        ) STRICT
    """)
    db.execute("CREATE INDEX tags_by_set ON tags (set_id)")


def m011_totals(db: Any) -> None:
    """Add the totals (`registry.totals`).

    For each table and each owner, such as a run or a set, a total is the number of the owner's rows and their checksum.
    """
    from registry.totals import fill

    db.execute("""
        CREATE TABLE totals (
            part TEXT NOT NULL,
            owner TEXT NOT NULL,
            "rows" INTEGER NOT NULL,
            "sum" TEXT NOT NULL,
            PRIMARY KEY (part, owner)
        ) STRICT, WITHOUT ROWID
    """)
    fill(db.conn)


def m012_one_set_of_each_seed(db: Any) -> None:
    """Change `group_summary`: if several sets of a group have the same seed, only the newest of them counts.

    `Registry.group` chooses the sets of a group in the same way. Before, such a seed had more weight in the mean, and
    was counted more than once in `condensations`.
    """
    newest = """(
        SELECT group_id, set_id FROM (
            SELECT group_id, set_id, row_number() OVER (PARTITION BY group_id, seed ORDER BY seq DESC) AS place
            FROM set_groups JOIN sets ON sets.id = set_id
        ) WHERE place = 1
    )"""
    db.execute("DROP VIEW group_summary")
    db.execute(_group_summary(newest))


STEPS = (
    m001_tables,
    m002_views,
    m003_protocols,
    m004_predictions,
    m005_policies,
    m006_groups,
    m007_identity,
    m008_result_history,
    m009_sessions,
    m010_tags,
    m011_totals,
    m012_one_set_of_each_seed,
)


class OlderSchema(RegistryError):
    """The error for a registry that needs a migration but was opened read-only."""


def migrate(connection: sqlite3.Connection, *, read_only: bool = False) -> None:
    """Change an open registry to the newest schema, in one transaction. If a step fails, the file does not change.

    Raises RegistryError if the database is no registry, if a newer version of satm made it, or if it is empty and
    `read_only` is True. Raises OlderSchema if the registry needs a step but `read_only` is True.
    """
    # This order matters: another process may create the registry between the two look-ups. In the opposite order its
    # tables would be found but not its steps, as in a database that is no registry.
    foreign = bool(_tables(connection))
    applied = _applied(connection)
    if foreign and not applied:
        raise RegistryError("is a SQLite database but not a registry; name another file with --registry")
    unknown = sorted(applied - {step.__name__ for step in STEPS})
    if unknown:
        raise RegistryError(f"was written by a newer version ({unknown[-1]} is unknown here); upgrade satm to read it")
    if len(applied) == len(STEPS):
        return
    if read_only:
        if not applied:
            raise RegistryError("is empty; `satm condense` fills it")
        raise OlderSchema("is from an older version of satm; any command that stores something brings it up to date")
    from sqlite_utils import Migrations

    migrations = Migrations(NAME)
    for step in STEPS:
        migrations(name=step.__name__)(step)
    connection.execute("BEGIN IMMEDIATE")  # only one process migrates; others wait here and then find nothing to do
    try:
        migrations.apply(database(connection))
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def database(connection: sqlite3.Connection) -> Any:
    """Return the sqlite_utils.Database of a connection."""
    from sqlite_utils import Database

    return Database(connection, execute_plugins=False)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _applied(connection: sqlite3.Connection) -> set[str]:
    """Return the names of the steps that were applied to the file, from the table in which sqlite_utils stores them."""
    if TABLE not in _tables(connection):
        return set()
    return {name for (name,) in connection.execute(f"SELECT name FROM {TABLE} WHERE migration_set = ?", [NAME])}
