"""`satm query`: it only reads, it can be stopped, and it says what it leaves out."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from satm.cli import run
from satm.report.streaming import render_parts
from satm.report.tables import render, to_json

ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) select {} from c"
THREE = "select 1 as a union all select 2 union all select 3"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "home"))
    path = tmp_path / "satm.db"
    Registry.open(path).close()
    return path


@pytest.fixture
def query(path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The exit code of `satm query`, and what it printed on stdout and stderr."""

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["query", *arguments, "--registry", str(path)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        (ENDLESS.format("x"), ["x\n", "1\n", "2\n"]),  # the rows come while it computes
        (f"select 7 as x union all select 8 union all select * from ({ENDLESS.format('count(*)')})", ["x\n", "7\n"]),
    ],
)
def test_ctrl_c_ends_a_query_at_once(path: Path, sql: str, first: list[str]) -> None:
    program = "import sys; from satm.cli import main; print('ready', flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "query", sql, "--registry", str(path), "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    assert [process.stdout.readline() for _ in first] == first
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "stopped; a query only reads, so nothing was changed\n"


def test_a_query_that_takes_too_long_ends(query: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = query(ENDLESS.format("count(*)"), "--timeout", "0.2")
    assert (code, out) == (1, "")
    assert "took more than 0.2 s; allow more with --timeout" in err
    assert query("select 1", "--timeout", "0")[0] == 2


@pytest.mark.parametrize(
    "sql", ["select length(randomblob(2000000000))", "select hex(randomblob(90000000))", "select zeroblob(100000001)"]
)
def test_a_text_that_is_too_large_is_not_made(query: Callable[..., tuple[int, str, str]], sql: str) -> None:
    code, out, err = query(sql, "--timeout", "60", "--format", "csv")
    assert (code, out) == (1, "")
    assert err == f"error: '{sql}' makes or reads a text or blob of more than 100 MB; a query may not do that\n"


def test_one_long_step_of_sqlite_ends_too(path: Path) -> None:
    sql = "select instr(zeroblob(90000000), zeroblob(40000000) || x'01')"  # hours
    program = "from satm.cli import main; main()"
    command = [sys.executable, "-c", program, "query", sql, "--registry", str(path), "--timeout", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"error: '{sql}' took more than 0.5 s; allow more with --timeout\n"
    with Registry.open(path) as registry:
        registry.add_recipe("it can be written", {})


def test_a_registry_can_hold_what_no_query_may_make(path: Path) -> None:
    with Registry.open(path) as registry:
        assert registry.query("select 1")[1] == [(1,)]
        assert registry._connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) > 900_000_000


def test_infinity_and_nan_are_null_in_json(query: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = query("select 1e999 as a, -1e999 as b, 1.5 as c, 1e999 - 1e999 as d", "--format", "json")
    assert json.loads(out, parse_constant=pytest.fail) == [{"a": None, "b": None, "c": 1.5, "d": None}]
    assert json.loads(to_json({"x": [float("nan"), (float("inf"), 1)]}), parse_constant=pytest.fail) == {
        "x": [None, [None, 1]]
    }


def test_time_in_which_the_rows_are_looked_at_does_not_count(path: Path) -> None:
    with Registry.open(path, read_only=True) as registry, registry.select(THREE, timeout=0.5) as found:
        for _ in found.rows:
            time.sleep(0.4)


@pytest.mark.parametrize(
    ("arguments", "rows", "cut"),
    [
        (["--limit", "2"], 2, True),
        (["--limit", "3"], 3, False),
        (["--limit", "0"], 3, False),
        (["--limit", "2", "--format", "csv"], 2, True),
        ([], 3, False),
    ],
)
def test_a_limit_says_that_it_cut(
    query: Callable[..., tuple[int, str, str]], arguments: list[str], rows: int, cut: bool
) -> None:
    code, out, err = query(THREE, *arguments)
    assert code == 0
    assert len(out.splitlines()) == 1 + rows
    assert err == ("only the first 2 rows are shown; --limit 0 shows all\n" if cut else "")


def test_a_table_has_a_limit_and_data_have_none(query: Callable[..., tuple[int, str, str]]) -> None:
    sql = ENDLESS.format("x") + " limit 1500"
    _, out, err = query(sql)
    assert len(out.splitlines()) == 1001
    assert "only the first 1000 rows" in err
    _, out, err = query(sql, "--format", "json")
    assert [row["x"] for row in json.loads(out)] == list(range(1, 1501))
    assert err == ""


def test_a_query_that_would_write_is_told_that_it_only_reads(query: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = query("delete from sets")
    assert code == 1
    assert "a query only reads" in err


@pytest.mark.parametrize("rows", [[], [(1, 'a "b"\n', None)], [(1, "x,y", b"123"), (2.5, "ü|", "")]])
def test_rows_in_parts_are_the_same_text(rows: list[tuple[object, ...]]) -> None:
    columns = ["number", "text, long", "a b"]
    for form in ("csv", "json", "markdown"):
        parts = list(render_parts(columns, iter(rows), form))
        assert "\n".join(parts) == render(columns, rows, form)
        assert len(parts) == 1 + len(rows)
