"""Sets × architectures × repeats: order and interruptions change no number, and errors come before training."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import pytest

import satm
from evaluation import RECIPES
from satm.cli import run
from satm.errors import ConfigError, Interrupted, UnknownName
from satm.progress import NoProgress

ARCHS = ["convnet3_w4", "convnetbn3_w4"]
BRIEF = {"repeats": 2, "learning_rate": 0.05, "recipe": "brief"}


class StopAfter(NoProgress):
    """Asks to stop after `calls` calls of `stopping`."""

    def __init__(self, calls):
        self.left = calls

    def stopping(self):
        self.left -= 1
        return self.left < 0


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
    return {(line.name, line.memory, arch): cells for line in matrix.rows for arch, cells in line.accuracies.items()}


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
    assert "paired difference to digits/ipc1/random@2" in out
    assert "lost from the set's own architecture" in out
    assert "2 sets, too few or too equal for a rank correlation" in out
    assert run([*asked, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["set"], row["architecture"], row["n"]) for row in rows] == [
        (name, arch, 2) for name in SETS[:2] for arch in ("convnet3_w8", "convnet3_w4")
    ]
    assert [row["against"] for row in rows] == [SETS[1], SETS[1], None, None]
    assert run([*asked, "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("set,memory,profile,recipe,architecture,in_domain")
    assert run(["results", "--protocol", "arch", "--registry", str(copy)]) == 0
    assert "95% interval" in capsys.readouterr().out
    assert satm.results(registry=copy, protocol="cross-arch")[0].n == 2
