"""`satm results`, on registries made by hand: what the short table says, in the width of a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import Registry
from satm.cli import run
from satm.printable import width
from tests.registry.helpers import start
from tests.satm.workflow.comparing import evaluated, group

Satm = Callable[..., str]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def refused(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must be refused with one line. Returns that line."""

    def command(*arguments: str) -> str:
        assert run(arguments) in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return command


def stream(registry: Registry, sets: Any, values: dict[str, list[float]], **changes: Any) -> None:
    """Class-incremental results of three class orders; a list is the metric's value after each step."""
    for metric, by_step in values.items():
        for step, value in enumerate(by_step, start=6 - len(by_step)):
            given = {"protocol": "class-incremental", "metric": metric, "steps": 5, "step": step, **changes}
            evaluated(registry, sets, [value] * len(sets), networks=(-0.01, 0.0, 0.01), **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two registries, made once.

    `demo`: a set in domain beside random images, at a smaller scale, on other architectures, and in a stream.
    `methods`: groups of four condensations, two IPC × three methods, of which c is far worse.
    """
    place = tmp_path_factory.mktemp("registries")
    with Registry.open(place / "demo.db") as registry:
        sets = group(registry, "satm", (0,))
        evaluated(registry, sets, [0.88])
        for metric in ("macro_accuracy", "expected_calibration_error"):
            evaluated(registry, sets, [0.2], metric=metric)
        evaluated(registry, sets, [0.71], policy="grid", memory="random")
        few: dict[str, Any] = {"networks": (0.0, 0.02), "profile": "paper", "recipe": "paper"}
        evaluated(registry, sets, [0.87], **few)
        for name in ("alexnet", "convnet4"):
            evaluated(registry, sets, [0.3], protocol="cross-arch", architecture=name, **few)
        stream(registry, sets, {"accuracy": [0.9, 0.8, 0.7, 0.6, 0.5], "final_accuracy": [0.5], "forgetting": [0.1]})
    with Registry.open(place / "methods.db") as registry:
        for ipc, step in ((1, 0.0), (10, 0.2)):
            for name, mean in (("a", 0.6), ("b", 0.605), ("c", 0.3)):
                seeds = group(registry, name, ipc=ipc)
                by_seed = (0.0, 0.011, -0.013, 0.004) if name == "b" else (0.003, -0.004, 0.01, 0.0)
                evaluated(registry, seeds, [mean + step + by for by in by_seed])
    return {name: place / f"{name}.db" for name in ("demo", "methods")}


@pytest.fixture
def demo(here: Path, made: dict[str, Path]) -> Path:
    return shutil.copy(made["demo"], here / "satm.db")


@pytest.fixture
def methods(here: Path, made: dict[str, Path]) -> Path:
    return shutil.copy(made["methods"], here / "satm.db")


def fits(text: str, columns: int = 80) -> None:
    assert max(map(width, text.splitlines())) <= columns, text


def test_after_the_demo_there_are_at_most_ten_lines_that_fit(satm: Satm, demo: Path) -> None:
    out = satm("results")
    fits(out)
    lines = out.splitlines()
    assert len(lines) <= 10
    assert lines[0] == "test accuracy in %; n: condensations × networks; satm results --all: all metrics"
    assert lines[1] == "all: set cifar10/ipc2/satm"
    assert lines[2].split() == ["protocol", "architecture", "memory", "profile", "rate", "mean", "95%", "interval", "n"]
    assert [line.split()[0] for line in lines[3:9]] == ["in-domain"] * 3 + ["cross-arch"] * 2 + ["cl"]
    assert re.search(r"condensed  smoke    learned  88\.0  \[8\d\.\d, \d\d\.\d\]  1×5$", out, re.MULTILINE)
    assert lines[9] == "cl: class-incremental, last step, × class orders; random: draws; sd: spread"


def test_a_stream_shows_its_final_accuracy_and_other_metrics_are_in_all(satm: Satm, demo: Path) -> None:
    out = satm("results", "--protocol", "cl")
    assert "50.0" in out
    assert "forgetting" not in out
    every = satm("results", "--all")
    assert {"forgetting", "macro_accuracy", "final_accuracy"} <= set(every.split())
    assert {f"{step}/5" for step in range(1, 6)} <= set(every.split())


def test_a_metric_that_is_asked_for_is_the_number(satm: Satm, demo: Path) -> None:
    out = satm("results", "--metric", "forgetting")
    assert out.startswith("forgetting in %; ")
    assert "10.0" in out
    assert "50.0" not in out


def test_machine_readable_formats_keep_every_column_and_metric(satm: Satm, demo: Path) -> None:
    rows = json.loads(satm("results", "--format", "json"))
    assert {row["metric"] for row in rows} >= {"accuracy", "macro_accuracy", "final_accuracy", "forgetting"}
    assert len(rows[0]) == 23
    lines = list(csv.DictReader(io.StringIO(satm("results", "--format", "csv"))))
    assert [line["metric"] for line in lines] == [row["metric"] for row in rows]
    assert satm("results", "--format", "markdown").startswith("| set | profile | protocol | architecture |")


def test_a_pivot_of_architectures_marks_the_own_one_and_says_n(satm: Satm, demo: Path) -> None:
    out = satm("results", "--pivot", "architecture")
    fits(out)
    assert "(n): condensations × networks" in out
    assert re.search(r"88\.0 \[8\d\.\d, \d\d\.\d\] \(1×5\)\*", out)
    assert "31.0 ± 1.4 (1×2)" in out
    assert out.rstrip().endswith("*: the set's own architecture")


def test_a_pivot_of_steps_has_a_column_for_each_step(satm: Satm, demo: Path) -> None:
    out = satm("results", "--pivot", "step")
    fits(out)
    assert "accuracy in % [95% interval] or ± spread, n = 1×3: condensations × class orders" in out
    assert out.index("90.0 [") < out.index("80.0 [") < out.index("50.0 [")
    (row,) = csv.DictReader(io.StringIO(satm("results", "--pivot", "step", "--format", "csv")))
    assert [float(row[f"{step}/5 mean"]) for step in range(1, 6)] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])


def test_a_pivot_of_methods_and_one_of_ipc(satm: Satm, methods: Path) -> None:
    out = satm("results", "--pivot", "method")
    fits(out)
    assert "n = 4×5" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("ipc")] == ["ipc1", "ipc10"]
    out = satm("results", "--pivot", "ipc", "--method", "a")
    assert out.splitlines()[-2].split() == ["IPC", "1", "IPC", "10"]
    out = satm("results", "--pivot", "method", "--format", "markdown")
    assert out.startswith("| set | protocol | architecture |")


def test_two_sets_of_one_place_in_a_pivot_stand_below_each_other(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        for steps in (1, 2):
            sets = group(registry, "a", (0,), config={"condense": {"outer_steps": steps}})
            evaluated(registry, sets, [0.5 + steps / 10])
    out = satm("results", "--pivot", "method")
    assert re.search(r"60\.0 \[.*\] @1$", out, re.MULTILINE)
    assert re.search(r"70\.0 \[.*\] @2$", out, re.MULTILINE)
    assert "ipc2 (2)" in out
    lines = list(csv.DictReader(io.StringIO(satm("results", "--pivot", "method", "--format", "csv"))))
    assert [line["a set"] for line in lines] == ["cifar10/ipc2/a@1", "cifar10/ipc2/a@2"]


def test_the_best_names_what_may_be_best_too_and_never_what_is_worse(satm: Satm, methods: Path) -> None:
    out = satm("results", "--best")
    fits(out)
    assert "may be best too: cifar10/ipc1/a" in out
    assert "may be best too: cifar10/ipc10/a" in out
    assert "ipc1/b" in out
    assert "/c" not in out
    assert "chosen on test images" in out
    rows = list(csv.DictReader(io.StringIO(satm("results", "--best", "--format", "csv"))))
    assert [(row["set"], row["of"], row["may_be_best_too"]) for row in rows] == [
        ("cifar10/ipc1/b", "3", "cifar10/ipc1/a"),
        ("cifar10/ipc10/b", "3", "cifar10/ipc10/a"),
    ]


def test_the_best_of_a_metric_of_which_less_is_better_is_the_least(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        for name, value in (("a", 0.2), ("b", 0.1)):
            stream(registry, group(registry, name, (0,)), {"final_accuracy": [0.5], "forgetting": [value]})
    out = satm("results", "--best", "--metric", "forgetting")
    assert "all: set cifar10/ipc2/b," in out
    assert "may be best too: cifar10/ipc2/a" in out  # one condensation shows nothing about a method


@pytest.mark.parametrize(("memory", "low"), [("random", 0.3), ("random", 0.59), ("herding", 0.3)])
def test_real_images_that_belong_to_no_seed_are_compared_with_every_condensation(
    satm: Satm, here: Path, memory: str, low: float
) -> None:
    with Registry.open(here / "satm.db") as registry:
        sets = group(registry, "a")
        evaluated(registry, sets, [0.61, 0.6, 0.59, 0.6])
        # as the suite stores them: for the newest set only
        evaluated(registry, sets[-1:], [low], memory=memory, networks=(0.05, -0.05, 0.0, 0.03, -0.03))
    (row,) = csv.DictReader(io.StringIO(satm("results", "--best", "--format", "csv")))
    assert (row["memory"], row["of"]) == ("condensed", "2")
    assert bool(row["may_be_best_too"]) == (low > 0.5)


def test_scales_and_policies_are_not_compared(satm: Satm, demo: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(satm("results", "--best", "--format", "csv"))))
    assert [row["of"] for row in rows] == ["1"] * 6
    assert "no letter: no other row here" in satm("results", "--best")


def test_imported_sets_are_marked_as_such(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        evaluated(registry, group(registry, "a", (0,), profile="foreign"), [0.9], profile="foreign")
    assert "foreign" in satm("results", "--best")


@pytest.mark.parametrize(("column", "first"), [("mean", "b"), ("-mean", "c"), ("method", "a"), ("set", "a")])
def test_rows_are_sorted_by_a_column(satm: Satm, methods: Path, column: str, first: str) -> None:
    rows = csv.DictReader(io.StringIO(satm("results", "--sort", column, "--format", "csv")))
    assert next(rows)["set"].endswith(f"/{first}")


def test_what_has_no_value_comes_last(satm: Satm, demo: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(satm("results", "--sort", "-low", "--format", "csv"))))
    lows = [row["low"] for row in rows]
    assert lows.index("") == len([low for low in lows if low])


def test_a_limit_is_said(satm: Satm, methods: Path) -> None:
    out = satm("results", "--limit", "2")
    assert out.splitlines()[-1] == "the newest 2 of 6 rows; --limit 0 shows all"
    assert "ipc1/" not in out
    assert "2 of 6 rows" in satm("results", "--limit", "2", "--sort", "mean")
    assert "of 6 rows" not in satm("results")
    assert len(satm("results", "--limit", "1", "--format", "csv").splitlines()) == 2


def test_since_takes_the_time_of_the_run(satm: Satm, demo: Path) -> None:
    assert "88.0" in satm("results", "--since", "7d")
    assert satm("results", "--since", "2999-01-02") == (
        "no results under --since 2999-01-02 in satm.db; satm eval makes some, and satm sets list shows the sets\n"
    )
    assert satm("results", "--since", "2999-01-02T10:00+02:00", "--format", "json") == "[]\n"
    with Registry.open(demo) as registry:
        (record,) = registry.sets()
        run_id = start(registry)
        evaluated(registry, [record], [0.5], architecture="resnet18", protocol="cross-arch", run_id=run_id)
    with sqlite3.connect(demo) as db:
        db.execute("UPDATE runs SET updated = '2001-01-01T00:00:00.000+00:00'")
    assert "resnet18" in satm("results", "--since", "2001-01-01")
    assert "resnet18" not in satm("results", "--since", "2001-01-02")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sort", "colour"], "unknown column 'colour'"),
        (["--since", "yesterday"], "--since yesterday: expected a date such as 2026-11-20"),
        (["--since", "99999999999d"], "--since 99999999999d: expected"),
        (["--best", "--pivot", "ipc"], "--pivot beside --best"),
        (["--all", "--best"], "--all beside --best"),
        (["--pivot", "step", "--protocol", "arch"], "only class-incremental results have steps"),
        (["--metric", "acuracy"], "did you mean accuracy"),
        (["--profile", "foo"], "unknown profile 'foo': known: cpu,"),
        (["--memory", "foo"], "unknown memory 'foo': known: condensed,"),
        (["--arch", "foo"], "unknown architecture 'foo': known: alexnet,"),
        (["--dataset", "foo", "--format", "json"], "unknown data set 'foo': known: cifar10,"),
        (["--method", "mmt"], "unknown method 'mmt': did you mean mtt"),
    ],
)
def test_a_wrong_option_is_one_line(refused: Callable[..., str], demo: Path, arguments: list[str], said: str) -> None:
    assert said in refused("results", *arguments)


def test_an_unknown_pivot_is_refused_with_the_names(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", "--pivot", "colour"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert all(name in said for name in ("architecture", "method", "ipc", "step"))


def test_an_empty_registry_and_a_missing_protocol_are_one_line(satm: Satm, here: Path) -> None:
    Registry.open(here / "satm.db").close()
    assert satm("results").splitlines() == [
        "no results in satm.db; satm eval makes some, and satm sets list shows the sets"
    ]
    assert "satm eval-cl makes some" in satm("results", "--protocol", "cl", "--pivot", "step")
    assert "satm score makes some" in satm("results", "--protocol", "coverage")
    assert satm("results", "--format", "csv").count("\n") == 1


def test_steps_without_a_stream_are_one_line(satm: Satm, methods: Path) -> None:
    (line,) = satm("results", "--pivot", "step").splitlines()
    assert line.startswith("no results of protocol class-incremental in satm.db; satm eval-cl makes some")


def test_no_results_names_every_filter(satm: Satm, demo: Path) -> None:
    filters = ("--arch", "vgg11", "--memory", "herding", "--metric", "accuracy", "--profile", "cpu")
    (line,) = satm("results", "latest", *filters).splitlines()
    assert "no results of latest under " in line
    assert all(f"{name} {value}" in line for name, value in zip(filters[::2], filters[1::2], strict=True))


def test_long_names_fit(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        for name in ("m" * 60 + "1", "m" * 60 + "2"):
            sets = group(registry, name, (0,))
            for architecture in ("convnextv2_nano.fcmae_ft_in22k_in1k_384", "vit_small_patch14_reg4_dinov2.lvd142m"):
                evaluated(registry, sets, [0.9], recipe=f"{name[-1]}, {'r' * 70}", architecture=architecture)
    out = satm("results")
    fits(out)
    assert "…: the middle of a long name" in out
    fits(satm("results", "--pivot", "architecture"))


def test_what_a_reader_must_know_has_a_letter(satm: Satm, here: Path) -> None:
    with Registry.open(here / "satm.db") as registry:
        sets = group(registry, "satm", (0,))
        evaluated(registry, sets, [0.9], detail={"policy": "learned", "validation": 0})
    assert "a: validation=0" in satm("results")
    out = satm("results", "--pivot", "ipc")
    assert re.search(r"90\.0 \[.*\] a$", out, re.MULTILINE)
    assert out.rstrip().endswith("a: validation=0")


def test_compare_ends_with_the_short_table(satm: Satm, methods: Path) -> None:
    out = satm("compare", "cifar10/ipc1/a", "cifar10/ipc1/b")
    table = out[out.index("test accuracy in %") :]
    fits(table)
    assert [line.split()[0] for line in table.splitlines()[-2:]] == ["a", "b"]


@pytest.mark.parametrize("view", [("--best",), ("--pivot", "method")])
def test_data_formats_are_not_cut(satm: Satm, here: Path, view: tuple[str, ...]) -> None:
    with Registry.open(here / "satm.db") as registry:
        sets = group(registry, "satm", (0,))
        for k in range(45):
            evaluated(registry, sets, [0.5], architecture=f"net{k}")
    assert len(satm("results", *view, "--format", "csv").splitlines()) == 46
    assert "of 45 rows" in satm("results", "--best")
