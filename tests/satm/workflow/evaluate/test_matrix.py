"""Sets × architectures × repeats: order and interruptions change no number, and errors come before training."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace
from itertools import combinations

import pytest

import satm
from evaluation import RECIPES
from registry import Registry
from satm.cli import run
from satm.errors import ConfigError, Interrupted, UnknownName
from satm.progress import NoProgress
from satm.statistics import crossed, fresh_draws

ARCHS = ["convnet3_w4", "convnetbn3_w4"]
BRIEF = {"repeats": 2, "learning_rate": 0.05, "recipe": "brief"}


class StopAfter(NoProgress):
    """Asks to stop after `calls` calls of `stopping`."""

    def __init__(self, calls):
        self.left = calls

    def stopping(self):
        self.left -= 1
        return self.left < 0


class Said(NoProgress):
    """Keeps the lines for the user."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Three sets of random digits: two of equal size, and a larger one."""
    folder = tmp_path_factory.mktemp("matrix")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(folder / "home"))
        for ipc, seed in ((1, 0), (1, 1), (2, 0)):
            settings = {"architecture": "convnet3_w8"}
            preset = satm.choose_preset("digits", ipc=ipc, method="random", profile="smoke", settings=settings)
            satm.condense(preset, seed=seed, registry=folder / "satm.db")
        yield folder / "satm.db"


SETS = ["digits/ipc1/random@1", "digits/ipc1/random@2", "digits/ipc2/random@1"]


@pytest.fixture
def copy(registry, tmp_path, monkeypatch):
    """A copy of the registry for a test that stores results."""
    monkeypatch.setenv("SATM_HOME", str(registry.parent / "home"))
    brief = replace(RECIPES.get("smoke"), name="brief", epochs=3, drop_at=())
    monkeypatch.setitem(RECIPES._items, "brief", brief)
    path = tmp_path / "copy.db"
    path.write_bytes(registry.read_bytes())
    return path


def numbers(matrix):
    """By set, memory and architecture: the accuracies of the only seed."""
    return {
        (line.name, line.memory, arch): only
        for line in matrix.rows
        for arch, by_seed in line.accuracies.items()
        for only in by_seed.values()
    }


def test_the_matrix_is_the_same_in_any_order_and_pieces(copy, tmp_path):
    whole = satm.evaluate_matrix(SETS, architectures=ARCHS, baseline="random", registry=copy, **BRIEF)
    assert whole.architectures == ("convnet3_w8", *ARCHS)
    assert [line.name for line in whole.sets] == SETS
    # both sets of equal size share the networks on random images
    assert [line.name for line in whole.randoms] == [SETS[0], SETS[2]]
    assert whole.against[SETS[1]] is whole.randoms[0]
    assert all(sorted(cells) == [0, 1] for cells in numbers(whole).values())
    assert len(numbers(whole)) == 5 * 3
    assert {row.protocol for row in satm.results(registry=copy)} == {"in-domain", "cross-arch"}

    pieces = tmp_path / "pieces.db"
    pieces.write_bytes(copy.read_bytes())
    with sqlite3.connect(pieces) as db:
        db.execute("delete from results")
    with pytest.raises(Interrupted):
        satm.evaluate_matrix(SETS[:2], architectures=ARCHS, registry=pieces, progress=StopAfter(14), **BRIEF)
    stored = sum(row.n for row in satm.results(registry=pieces, metric="accuracy"))
    assert 0 < stored < 12
    satm.evaluate(SETS[2], repeats=1, learning_rate=0.05, recipe="brief", registry=pieces)
    again = satm.evaluate_matrix(SETS[::-1], architectures=ARCHS[::-1], against="random", registry=pieces, **BRIEF)
    # the order decides with which set shared random images are stored, but not their numbers
    for line in again.sets:
        assert numbers(again)[line.name, "condensed", ARCHS[1]] == numbers(whole)[line.name, "condensed", ARCHS[1]]
        assert again.against[line.name].accuracies == whole.against[line.name].accuracies
    assert {k: v for k, v in numbers(again).items() if k[1] == "condensed"} == {
        k: v for k, v in numbers(whole).items() if k[1] == "condensed"
    }


def test_repeats_of_two_sets_start_from_the_same_weights(copy):
    satm.evaluate_matrix(SETS[:2], architectures=["convnet3_w4"], registry=copy, **BRIEF)
    _, rows = satm.query("select distinct architecture, repeat, seed from results", registry=copy)
    assert len(rows) == 4


def test_what_cannot_be_compared_is_refused_before_training(copy, capsys):
    def refused(error, match, references=SETS, **changes):
        with pytest.raises(error, match=match) as caught:
            satm.evaluate_matrix(
                references, **{"architectures": ["convnet3_w4"], "registry": copy, "recipe": "brief"} | changes
            )
        assert "\n" not in str(caught.value)
        assert satm.results(registry=copy) == []

    refused(UnknownName, "unknown recipe 'mt': did you mean mtt", recipe="mt")
    refused(UnknownName, "did you mean resnet18", architectures=["convnet3_w4", "resnet181"])
    refused(ConfigError, r"got 16×16; use convnet4", architectures=["convnet3_w4", "convnet5"])
    refused(UnknownName, "did you mean", references=["digits/ipc1/random@9"])
    refused(UnknownName, "did you mean", against="digits/ipc3/random@1")
    refused(ConfigError, "IPC 1, digits/ipc2/random@1 IPC 2; compare sets of one IPC", SETS[:1], against=SETS[2])
    refused(
        ConfigError,
        "random@1 is one set and digits/ipc1/random a group of 2; compare two groups, or name one set of it",
        SETS[:1],
        against="digits/ipc1/random",
    )
    refused(UnknownName, "unknown set 'digits/ipc1/random@3'", ["digits/ipc1/random@1-3"])
    for arguments, code, message in (
        (["eval-arch"], 2, "no architecture given"),
        (["eval-arch", "--arch", "convnet3_w4", "--baseline", "magic"], 2, "expected random"),
        (["eval-arch", "--arch", "convnet3_w4", "--recipe", "dd-rank"], 2, "did you mean dd-ranking"),
        (["eval-arch", "--arch", "convnet3_w4", "--against", "nobody"], 2, "nobody"),
    ):
        assert run([*arguments, "--registry", str(copy)]) == code
        assert message in capsys.readouterr().err


def test_the_command_prints_tables_and_rows(copy, capsys):
    asked = ["eval-arch", *SETS[:2], "--arch", "convnet3_w4", "--against", SETS[1], "--registry", str(copy)]
    asked += ["--recipe", "brief", "--repeats", "2", "--learning-rate", "0.05", "--threads", "1"]
    assert run([*asked, "--dry-run"]) == 0
    assert "0 of 8 networks are stored" in capsys.readouterr().err
    assert satm.results(registry=copy) == []
    assert run(asked) == 0
    out = capsys.readouterr().out
    assert "difference to digits/ipc1/random@2 (points), paired by network" in out
    assert "random@1  in-domain   convnet3_w8" in out
    assert "lost from the set's own architecture" in out
    assert "no rank correlation: 2 sets are too few" in out
    assert "this set only" in out
    assert "these two sets only" in out
    assert run([*asked, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["set"], row["architecture"], row["n"]) for row in rows] == [
        (name, arch, 2) for name in SETS[:2] for arch in ("convnet3_w8", "convnet3_w4")
    ]
    assert [row["against"] for row in rows] == [SETS[1], SETS[1], None, None]
    assert run([*asked, "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("set,memory,profile,recipe,architecture,in_domain")
    assert run(["results", "--protocol", "arch", "--registry", str(copy)]) == 0
    assert "mean  spread  n" in capsys.readouterr().out
    assert satm.results(registry=copy, protocol="cross-arch")[0].n == 2


def test_a_group_is_one_row_and_trains_what_is_missing_only(copy, capsys):
    asked = {"architectures": ["convnet3_w4"], "registry": copy, "recipe": "brief", "learning_rate": 0.05, "repeats": 3}
    for name in SETS[:2]:
        satm.evaluate_matrix([name], **asked)
    said = Said()
    group = satm.evaluate_matrix(["digits/ipc1/random"], against="random", progress=said, **asked)
    assert said.lines[0].startswith("2 sets in 1 group, random images on")
    assert "12 of 18 networks are stored" in said.lines[0]
    ((row,), (random,)) = group.sets, group.randoms
    assert (row.name, row.ipc, random.name) == ("digits/ipc1/random", 1, "digits/ipc1/random")
    assert row.images == random.images == len(satm.data.load("digits", device="cpu").test)
    assert [sorted(row.accuracies[arch]) for arch in group.architectures] == [[0, 1], [0, 1]]
    values = row.values("convnet3_w4")
    assert row.score("convnet3_w4").estimate == crossed([[values[s][r] for r in range(3)] for s in (0, 1)])
    (draws,) = random.accuracies["convnet3_w4"].values()
    assert random.score("convnet3_w4").estimate == fresh_draws([draws[r] for r in range(3)])
    single = satm.evaluate_matrix(SETS[:2], dry_run=True, **asked)
    assert {seed: numbers(single)[SETS[seed], "condensed", "convnet3_w4"] for seed in (0, 1)} == values
    # random images are kept under one set of the group, whichever set is named first
    again = satm.evaluate_matrix([SETS[1], "digits/ipc1/random"], against="random", dry_run=True, **asked)
    assert [each.name for each in again.sets] == [SETS[1], "digits/ipc1/random"]
    assert [each.accuracies for each in again.randoms] == [random.accuracies]

    command = ["eval-arch", "digits/ipc1/random", "--arch", "convnet3_w4", "--against", "random", "--recipe", "brief"]
    command += ["--repeats", "3", "--learning-rate", "0.05", "--registry", str(copy), "--threads", "1", "--dry-run"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "new condensations and new networks" in out
    assert "new condensations and new draws" in out
    assert "network r of every condensation − draw r" in out
    assert re.search(r"convnet3_w4   condensed +[\d.]+ +sd [\d.]+ +2×3", out)
    assert re.search(r"random +[\d.]+ +\[[\d., ]+\] +3\n", out)
    assert run([*command, "--format", "json"]) == 0
    cell = json.loads(capsys.readouterr().out)[0]
    assert (cell["set"], cell["counts"], cell["condensations"]) == ("digits/ipc1/random", "condensations", 2)
    assert (cell["networks"], cell["low"], cell["rate"]) == (3, None, 0.05)  # two condensations have no interval


def test_groups_are_compared_seed_by_seed(copy):
    with Registry.open(copy) as store:
        base = store.load(SETS[0])
        for seed in (0, 1, 7, 8, 9):
            store.add_set(
                replace(base, images=base.images + seed + 1, seed=seed, method="kcenter", name=None), run=None
            )
    asked = {"architectures": ["convnet3_w4"], "registry": copy, "recipe": "brief", "learning_rate": 0.05}
    with pytest.raises(ConfigError, match="have the seeds 0, 1 and 7, 8, 9: groups are compared"):
        satm.evaluate_matrix(["digits/ipc1/random"], against="digits/ipc1/kcenter@3-5", **asked)
    plan = satm.evaluate_matrix(["digits/ipc1/random"], against="digits/ipc1/kcenter@1-2", dry_run=True, **asked)
    assert [row.name for row in plan.sets] == ["digits/ipc1/random", "digits/ipc1/kcenter@1-2"]
    assert plan.against["digits/ipc1/random"] is plan.sets[1]
    with Registry.open(copy) as store:
        store.add_set(replace(base, method="dm", step_size=0.01, name=None), run=None)
    asked["learning_rate"] = "learned"
    with pytest.raises(ConfigError, match="at learned rates, digits/ipc1/random@1 at grid rates; compare them with"):
        satm.evaluate_matrix(["digits/ipc1/dm@1"], against=SETS[0], **asked)


def test_what_depends_on_each_other_is_known(copy):
    with Registry.open(copy) as store:
        base = store.load(SETS[0])
        for method, parents in (("kcenter", ("run:a",)), ("herding", ("run:a",)), ("dsa", ()), ("dm", ())):
            moved = base.images + (0 if method == "dm" else len(method))
            store.add_set(replace(base, images=moved, method=method, parents=parents, name=None), run=None)
    names = [*SETS[:2], *(f"digits/ipc1/{method}@1" for method in ("kcenter", "herding", "dsa", "dm"))]
    asked = {"recipe": "brief", "learning_rate": 0.05, "registry": copy, "dry_run": True}
    rows = satm.evaluate_matrix(names, architectures=["convnet3_w4"], **asked).sets
    related = {(a.name, b.name) for a, b in combinations(rows, 2) if a.origins & b.origins}
    assert related == {
        (SETS[0], SETS[1]),  # seeds of one group
        ("digits/ipc1/kcenter@1", "digits/ipc1/herding@1"),  # both began at one run
        (SETS[0], "digits/ipc1/dm@1"),  # the same images
    }
