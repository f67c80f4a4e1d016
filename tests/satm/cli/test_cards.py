"""The cards of `satm sets show` and `satm runs show`, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Registry
from satm.cli import run
from satm.printable import width
from tests.registry.helpers import a_set, start
from tests.satm.workflow.comparing import evaluated

Satm = Callable[..., str]
FACTS = {
    "preset": "satm/cifar10/ipc2",
    "source": "ours: the paper prints no numbers for this set",
    "departures": ["cpu: experts 4 instead of 100", "cpu: " + "a departure that is long " * 6],
    "notes": {"engine": "engine higher"},
}
SHOWN = ["id", "name", "dataset", "ipc", "method", "version", "profile", "label_kind", "step_size", "seed", "images"]
SHOWN += ["image_shape", "bytes", "about", "parents", "blobs", "run_id", "created", "tags", "lineage", "run"]


@pytest.fixture
def stored(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set with a run, a tag, parents and results; the id of the run."""
    monkeypatch.setenv("COLUMNS", "80")
    with Registry.open(here / "satm.db") as registry:
        run_id = start(registry, config=FACTS, profile="cpu", command="satm condense cifar10 --ipc 2")
        parents = ("data:" + "a" * 64, "experts:" + "b" * 32)
        record = registry.add_set(a_set(profile="cpu", parents=parents), run=run_id)
        registry.add_metrics(run_id, [(4, "sharpness", 0.5), (4, "loss", 0.75), (9, "loss", 0.25)])
        registry.finish_run(run_id, status="done", set_id=record.id)
        registry.add_tag(record.id, "baseline")
        evaluated(registry, [record], [0.9])
    return run_id


def test_the_card_of_a_set_says_what_it_is_and_what_made_it(satm: Satm, stored: str) -> None:
    out = satm("sets", "show")
    assert max(map(width, out.splitlines())) <= 80
    for said in (
        "set            cifar10/ipc2/satm@1 (tags: baseline)",
        "data set       cifar10: cat, dog",
        "images         4, 2 a class, 3×2×2, hard labels",
        "profile        cpu: a small scale",
        "step size      α = 0.01",
        "preprocessing  meanstd: mean 0.5 0.5 0.5, std 0.25 0.25 0.25",
        "numbers from   ours: the paper prints no numbers for this set",
        "departure      cpu: experts 4 instead of 100",
        f"run {stored}",
        "experts bbbbbbbbbbbb, not on this machine",
        "data aaaaaaaaaaaa",
        "90.0  [",
    ):
        assert said in out, said
    assert "a" * 13 not in out  # long ids are cut


def test_the_card_of_a_run_says_what_it_did_and_how_it_ended(satm: Satm, stored: str) -> None:
    out = satm("runs", "show")
    assert max(map(width, out.splitlines())) <= 80
    for said in (f"run            {stored}, condense", "state          done", "step 9         loss 0.25"):
        assert said in out
    assert "step 4         sharpness 0.5\n" in out  # a metric stands under the step that it was last measured at
    assert "made           cifar10/ipc2/satm@1" in out
    assert "90.0  [" in out


def test_json_is_everything_that_is_stored(satm: Satm, stored: str) -> None:
    shown = json.loads(satm("sets", "show", "--json"))
    assert list(shown) == SHOWN
    assert (shown["tags"], shown["run"]["config"]) == (["baseline"], FACTS)
    shown = json.loads(satm("runs", "show", "--json"))
    assert (shown["id"], shown["state"], shown["sets"]) == (stored, "done", ["cifar10/ipc2/satm@1"])
    assert list(shown)[-6:] == ["state", "sets", "environment", "last_step", "metrics", "saved_state"]
    assert (shown["last_step"], shown["metrics"]) == (9, {"loss": 0.25, "sharpness": 0.5})


def test_a_card_has_a_picture_beside_it(satm: Satm, stored: str, here: Path) -> None:
    satm("sets", "show", "--grid", "set.png")
    satm("runs", "show", "--grid", "run.png")
    assert (here / "set.png").read_bytes() == (here / "run.png").read_bytes()
    assert (here / "set.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_a_set_has_no_picture(stored: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Registry.open(here / "satm.db") as registry:
        other = start(registry, key="other", kind="eval")
    assert run(["runs", "show", other, "--grid", "x.png"]) == 2
    assert f"run {other} (eval) made no set" in capsys.readouterr().err
    assert not (here / "x.png").exists()


def test_a_set_without_results_or_a_run_has_a_card(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        registry.add_set(a_set(step_size=None), run=None)
    out = satm("sets", "show")
    assert "no results yet: satm eval cifar10/ipc2/satm@1" in out
    assert "none: an evaluation chooses the learning rate" in out
