"""The comparison of methods: the command continues from what is stored, and its table is complete."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "methods.py"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_all_methods_and_all_rules_are_compared_unless_some_are_named(script):
    names = [entry.name for entry in script.entries(None, None)]
    assert {"mtt", "ftd", "tesla", "datm", "satm", "satm-fi", "satm-da", "satm+sgd", "satm+vasso"} <= set(names)
    assert len(names) == len(set(names))
    assert "random" not in names
    assert [entry.name for entry in script.entries(["mtt"], ["satm"])] == ["mtt", "satm+satm"]


def test_two_methods_on_digits_and_again_from_what_is_stored(script, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- methods: begin -->\nold\n<!-- methods: end -->\nafter\n")
    command = ["--dataset", "digits", "--profile", "smoke", "--methods", "mtt", "--rules", "ema", "--outer-steps", "2"]
    command += ["--repeats", "2", "--registry", str(tmp_path / "m.db"), "--into", str(page), "--threads", "1"]
    assert script.main([*command, "--budget", "1e-9"]) == 0  # a budget of one step each
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "profile `smoke`" in text
    assert "python benchmarks/methods.py --dataset digits" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows if "random" not in row].count("mtt") == 2
    assert [row.split(" | ")[1] for row in rows if "`mtt`" in row] == ["2", "1"]
    assert sum("digits/ipc1/satm+ema@" in row for row in rows) == 2
    assert sum("| `random` |" in row for row in rows) == 2
    assert all(" 2 | " in row for row in rows)

    def fail(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("evaluation.cross_arch.train_network", fail)
    monkeypatch.setattr("satm.methods.trajectory.condensation.TrajectoryCondensation.advance", fail)
    assert script.main([*command, "--budget", "1e-9"]) == 0
    assert page.read_text() == text


def test_every_space_has_its_own_random_and_methods_without_steps_are_named(script, monkeypatch):
    def line(name, space, values, **known):
        return script.Line(entry=script.Entry(method=name), space=space, values=values, set_name=name, **known)

    made = {
        "mtt": line("mtt", "ZCA, convnet3", (0.5, 0.6), steps=4, seconds=2.0),
        "dc": line("dc", "mean/std, convnet3", (0.4, 0.5), seconds=2.0),
        "dsa": line("dsa", "mean/std, convnet3", (0.45, 0.55), seconds=2.0),
    }
    beside = []

    def random_line(asked, line, progress):
        beside.append(line.entry.name)
        values = {"ZCA, convnet3": (0.4, 0.4), "mean/std, convnet3": (0.1, 0.3)}[line.space]
        return script.Line(entry=script.Entry(method="random"), space=line.space, values=values)

    around = script.compare.__globals__
    monkeypatch.setitem(around, "measure", lambda entry, *_: made[entry.name])
    monkeypatch.setitem(around, "random_line", random_line)
    asked = script.parse(["--methods", "mtt,dc,dsa", "--rules", ""])
    pages = []
    script.compare(asked, None, pages.append)
    assert sorted(beside) in (["dc", "mtt"], ["dsa", "mtt"])
    equal, timed = pages[-1].split("In 2 s each")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in equal.splitlines() if row.startswith("| `")]
    assert {(row[0], row[3], row[6].split()[0]) for row in rows if row[0] != "`random`"} == {
        ("`mtt`", "ZCA, convnet3", "+15.0"),
        ("`dc`", "mean/std, convnet3", "+25.0"),
        ("`dsa`", "mean/std, convnet3", "+30.0"),
    }
    assert {row[3] for row in rows if row[0] == "`random`"} == {"ZCA, convnet3", "mean/std, convnet3"}
    assert timed.count("| `random` |") == 1
    assert timed.endswith("Not here, having no outer steps to choose: `dc`, `dsa`.")


def test_a_file_without_its_markers_is_one_line(script, tmp_path):
    from satm.errors import SatmError

    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SatmError, match="has no lines '<!-- methods: begin -->'"):
        script.into(page, "x")
