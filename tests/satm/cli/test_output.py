"""What is printed: no name controls a terminal, no CSV cell is a formula, every encoding will do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from registry import Registry
from satm.errors import ConfigError
from satm.report.tables import render, to_json
from tests.registry.helpers import SET

EVIL = "a\x1b[31mb\x9b2J\r\n\u202ec\udce9"


@pytest.mark.parametrize("form", ["table", "csv", "json", "markdown"])
def test_no_cell_and_no_column_controls_a_terminal(form: str) -> None:
    text = render([EVIL], [[EVIL]], form)
    assert text.replace("\n", "").isprintable()
    assert "\\u202e" in text
    if form == "json":
        assert json.loads(text) == [{EVIL: EVIL}]


def test_json_keeps_letters() -> None:
    assert to_json({"α": "é\x7f"}) == '{\n  "α": "é\\u007f"\n}'


def test_no_text_in_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    cells = ["=1+1", "+cmd", "-x", "@f", "-1.5", "+3", -2, -0.5, "a=b", True]
    rows = render(["c"], [[each] for each in cells], "csv").split("\n")[1:]
    assert rows == ["'=1+1", "'+cmd", "'-x", "'@f", "-1.5", "+3", "-2", "-0.5", "a=b", "True"]


@pytest.mark.parametrize(
    "changes", [{"dataset": EVIL}, {"method": "\x1b"}, {"classes": ("cat", "d\tog")}, {"dataset": " "}]
)
def test_no_set_with_a_hostile_name_is_stored(tmp_path: Path, changes: dict[str, object]) -> None:
    with Registry.open(tmp_path / "satm.db") as registry:
        with pytest.raises(ConfigError, match="rename it") as caught:
            registry.add_set(replace(SET, **changes), run=None)  # type: ignore[arg-type]
        assert str(caught.value).isprintable()
        assert registry.sets() == []


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_every_encoding_will_do(tmp_path: Path, encoding: str, form: str) -> None:
    path = tmp_path / "satm.db"
    Registry.open(path).close()
    sql = "select 'λ α ± ' || char(27) as é"
    program = "from satm.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "query", sql, "--format", form, "--registry", str(path)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert ("λ α ±" if encoding == "utf-8" else "\\u03bb") in text
    assert "\x1b" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    Registry.open(path).close()
    program = "from satm.cli import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "sets", "list", "--registry", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "No space left" in line
