"""`satm sets import`, `export` and `diff` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from satm.cli import run
from tests.satm.exchange import files


@pytest.fixture
def satm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line in an empty folder; returns its stdout, or its exit code and its one line of error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code, capsys.readouterr().err
        printed = capsys.readouterr()
        if code == 0:
            return printed.out
        (line,) = [line for line in printed.err.splitlines() if line.startswith("error:")]
        assert "Traceback" not in printed.err
        return line

    return command


def digits(folder: Path) -> Path:
    """Foreign normalised images of `digits`, the data set that every machine has."""
    labels = torch.arange(10).repeat_interleave(2)
    return files.mtt(files.fresh(folder), files.normal(20, 1, 8, 8), labels)


def test_a_foreign_set_is_imported_evaluated_everywhere_and_exported(satm: Callable[..., str], tmp_path: Path) -> None:
    digits(tmp_path / "run")
    claim = ["sets", "import", "run", "--format", "mtt", "--dataset", "digits", "--preprocessing", "meanstd"]
    assert "would store digits/ipc2/mtt" in satm(*claim, "--dry-run")
    assert not (tmp_path / "satm.db").exists()
    out = satm(*claim, "--step-size", "0.02")
    assert "note: files called best were picked by their test accuracy" in out
    assert "stored digits/ipc2/mtt@1 (20 images, hard labels, meanstd, step size 0.02)" in out
    assert "already stored: digits/ipc2/mtt@1" in satm(*claim, "--step-size", "0.02")
    assert "foreign" in satm("sets", "list")
    shown = json.loads(satm("sets", "show", "--json"))
    assert shown["run"]["kind"] == "import"
    assert [parent.split(":")[0] for parent in shown["parents"]] == ["file", "file", "data"]

    quick = ("--recipe", "smoke", "--threads", "1")
    satm("eval", "--repeats", "1", "--baseline", "random", *quick)
    satm("eval-arch", "--arch", "convnet3_w8", "--repeats", "1", *quick)
    satm("eval-cl", "--arch", "convnet3_w8", "--steps", "5", "--orders", "1", *quick)
    rows = json.loads(satm("results", "--format", "json"))
    assert {row["protocol"] for row in rows} == {"in-domain", "cross-arch", "class-incremental"}
    assert {row["profile"] for row in rows} == {"smoke"}  # a foreign set under a smoke recipe

    out = satm("sets", "export", "latest", "set.safetensors", "--format", "safetensors")
    assert "nothing is lost" in out
    satm("sets", "import", "set.safetensors", "--format", "safetensors", "--registry", "other.db")
    ids = [satm("query", "select id from sets", "--format", "csv", "--registry", db) for db in ("satm.db", "other.db")]
    assert ids[0] == ids[1]
    assert "lost: the step size is not carried" in satm("sets", "export", "latest", "folder", "--format", "imagefolder")


def test_diff_is_a_table_and_json(satm: Callable[..., str], tmp_path: Path) -> None:
    digits(tmp_path / "run")
    claim = ["sets", "import", "run", "--format", "mtt", "--dataset", "digits", "--preprocessing", "meanstd"]
    satm(*claim)
    satm(*claim, "--step-size", "0.02")
    assert "step_size" in satm("sets", "diff", "digits/ipc2/mtt@1", "digits/ipc2/mtt@2")
    rows = json.loads(satm("sets", "diff", "digits/ipc2/mtt@1", "digits/ipc2/mtt@2", "--format", "json"))
    assert rows == [{"what": "step_size", "a": None, "b": 0.02}]
    assert "nothing: they are the same set" in satm("sets", "diff", "latest", "digits/ipc2/mtt@2")


def test_refusals_have_their_exit_codes(satm: Callable[..., str], tmp_path: Path) -> None:
    digits(tmp_path / "run")
    start = ["sets", "import", "run", "--format", "mtt"]
    assert "give --dataset" in satm(*start, code=2)
    assert "give --preprocessing" in satm(*start, "--dataset", "digits", code=2)
    assert "do not fit --preprocessing none" in satm(*start, "--dataset", "digits", "--preprocessing", "none", code=1)
    assert "did you mean digits" in satm(*start, "--dataset", "digit", "--preprocessing", "none", code=2)
    assert "--mean x" in satm(*start, "--mean", "x", code=2)
    assert "step_size nan" in satm(*start, "--step-size", "nan", code=2)
    assert "there is no file or folder" in satm("sets", "import", "no", "--format", "kip", code=1)
    assert "unknown layout 'zip'" in satm("sets", "import", "run", "--format", "zip", code=2)
    assert not (tmp_path / "satm.db").exists()
    (tmp_path / "not.db").write_text("not a registry, but a text that is long enough to be read as one")
    assert "not.db" in satm(*start, "--dataset", "digits", "--preprocessing", "meanstd", "--registry", "not.db", code=1)
