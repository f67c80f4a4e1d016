"""The `satm` command as a user types it, on the embedded real images."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from satm.cli import run

QUICK = ["--profile", "smoke", "--threads", "1", "--set", "outer_steps=4", "--set", "diagnostics_every=2"]


@pytest.fixture
def refused(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must be refused with this exit code and one line. Returns that line."""

    def command(code: int, *arguments: str) -> str:
        assert run(arguments) == code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        lines = [line for line in printed.err.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, printed.err
        return lines[0]

    return command


def test_the_whole_line_on_real_images(satm: Callable[..., str], here: Path) -> None:
    out = satm("condense", "digits", "--ipc", "1", *QUICK, "--grid", "grid.png")
    assert "stored digits/ipc1/satm@1" in out
    assert "next: satm eval digits/ipc1/satm@1" in out
    assert (here / "grid.png").read_bytes().startswith(b"\x89PNG")

    out = satm("eval", "--baseline", "random", "--repeats", "1", "--threads", "1")
    assert [word for word in out.split() if word in ("condensed", "random")][:2] == ["condensed", "random"]
    out = satm("eval-arch", "--arch", "alexnet", "--repeats", "1", "--threads", "1")
    assert "alexnet: resize 32" in out
    assert out.count("digits/ipc1/satm@1") == 2  # above the drop from its own architecture, and above the accuracies
    assert "cross-arch" in satm("results")
    out = satm("eval-cl", "--steps", "5", "--orders", "1", "--threads", "1")
    assert "cl: class-incremental, last step" in out
    assert "average_incremental_accuracy" in satm("results", "--all")

    rows = json.loads(satm("results", "--protocol", "cl", "--all", "--format", "json"))
    steps = {row["step"] for row in rows if row["metric"] == "accuracy"}
    assert steps == {f"{k}/5" for k in range(1, 6)}
    matrix = {(row["step"], row["metric"]) for row in rows if row["metric"].startswith("accuracy_on_step_")}
    assert len(matrix) == 25 + 5  # 5 for the network before any training
    assert satm("results", "--format", "csv").startswith("set,profile,protocol")
    assert satm("results", "--format", "markdown").startswith("| set | profile |")
    assert "smoke" in satm("results")

    assert "digits/ipc1/satm@1" in satm("sets", "list")
    shown = json.loads(satm("sets", "show", "latest", "--json"))
    assert shown["run"]["config"]["source"].startswith("ours")
    assert satm("sets", "verify").startswith("1 sets, nothing wrong")
    metrics = json.loads(satm("query", "select step, name, value from metrics", "--format", "json"))
    names = {row["name"] for row in metrics}
    assert {"loss", "hypergradient_norm", "hypergradient_norm_perturbed", "step_size", "noise_ratio"} <= names
    measured = {row["step"] for row in metrics if row["name"] == "sharpness"}
    assert measured == {0, 2}
    assert {row["step"] for row in metrics if row["name"] == "step_size_derivative_exact"} == {0, 2}


def test_the_same_command_again_finds_the_stored_set(satm: Callable[..., str]) -> None:
    satm("condense", "digits", *QUICK)
    assert "already stored: digits/ipc1/satm@1" in satm("condense", "digits", *QUICK)
    assert "already stored: digits/ipc1/satm@1" in satm("condense", "digits", *QUICK, "--fresh")  # the same bits
    assert "stored digits/ipc1/satm@2" in satm("condense", "digits", *QUICK, "--seed", "1")


def test_print_config_round_trips(satm: Callable[..., str], here: Path) -> None:
    printed = satm("condense", "digits", *QUICK, "--seed", "3", "--print-config")
    (here / "run.json").write_text(printed)
    assert satm("condense", "--config", "run.json", "--print-config") == printed
    first = satm("condense", "--config", "run.json", "--threads", "1")
    assert "digits/ipc1/satm@1" in first
    assert "already stored" in satm("condense", "digits", *QUICK, "--seed", "3")


def test_a_dry_run_says_once_how_the_images_would_be_judged(satm: Callable[..., str], here: Path) -> None:
    lines = satm("condense", "digits", *QUICK, "--dry-run", "--eval-every", "1").splitlines()
    assert sum("judged every 1 outer steps" in line for line in lines) == 1
    assert len(lines) == len(set(lines))


def test_a_dry_run_writes_nothing(satm: Callable[..., str], here: Path) -> None:
    out = satm("condense", "digits", *QUICK, "--dry-run")
    first, second = out.splitlines()[:2]
    assert first == "profile smoke (cpu): satm/digits/ipc1, 2 expert epochs, 4 outer steps"
    assert second == "  satm plan with the same options predicts the time"
    assert not (here / "satm.db").exists()
    assert not (here / "home" / "experts").exists()


def test_finished_networks_are_not_trained_again(satm: Callable[..., str]) -> None:
    satm("condense", "digits", *QUICK)
    arguments = ("eval", "--repeats", "1", "--threads", "1")
    satm(*arguments)
    before = satm("query", "select detail from results", "--format", "csv")
    satm(*arguments)
    assert satm("query", "select detail from results", "--format", "csv") == before  # also the seconds that it took
    satm("eval", "--repeats", "2", "--threads", "1")
    accuracies = satm("query", "select detail from results where metric = 'accuracy'", "--format", "csv")
    assert len(accuracies.splitlines()) == 3


def test_random_is_a_method(satm: Callable[..., str]) -> None:
    assert "stored digits/ipc2/random@1" in satm("condense", "digits", "--ipc", "2", "--method", "random", *QUICK[:4])
    satm("eval", "--repeats", "1", "--threads", "1")
    policies = satm("query", "select distinct json_extract(detail, '$.policy') from results", "--format", "csv")
    assert policies.splitlines()[1:] == ["grid on validation"]


def test_steps_that_do_not_divide_the_classes_drop_none(
    satm: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    satm("condense", "digits", *QUICK)
    assert run(["eval-cl", "--steps", "3", "--orders", "1", "--threads", "1"]) == 0
    assert "10 classes over 3 steps: 4, 3, 3 classes each" in capsys.readouterr().err
    (line,) = satm(
        "query",
        "select distinct json_extract(detail, '$.class_order') from results where metric = 'final_accuracy'",
        "--format",
        "csv",
    ).splitlines()[1:]
    assert sorted(json.loads(json.loads(line))) == list(range(10))


def start(*arguments: str) -> subprocess.Popen[str]:
    program = "import sys; from satm.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_condensation_continues_to_the_same_bits(
    satm: Callable[..., str], here: Path, number: signal.Signals
) -> None:
    settings = ["--profile", "smoke", "--threads", "1", "--set", "outer_steps=40"]
    process = start("condense", "digits", *settings, "--registry", "stopped.db")
    runs = here / "home" / "runs"
    deadline = time.monotonic() + 120
    while not (list(runs.glob("*.lock")) and _running("stopped.db")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command continues from there" in err
    assert list(runs.glob("*.safetensors"))
    assert satm("query", "select status from runs", "--registry", "stopped.db", "--format", "csv").split() == [
        "status",
        "interrupted",
    ]
    satm("condense", "digits", *settings, "--registry", "stopped.db")
    satm("condense", "digits", *settings, "--registry", "whole.db")
    ids = [satm("query", "select id from sets", "--registry", f, "--format", "csv") for f in ("stopped.db", "whole.db")]
    assert ids[0] == ids[1]
    count = "select count(*), count(distinct step) from metrics where name = 'loss'"
    assert satm("query", count, "--registry", "stopped.db", "--format", "csv").splitlines()[1] == "40,40"


def _running(path: str) -> bool:
    """Whether the registry holds a run, as another process sees it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return bool(db.execute("select 1 from runs").fetchall())
    except sqlite3.OperationalError:
        return False


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["condense", "digit"], 2, "did you mean digits"),
        (["condense"], 2, "no data set given; name one as the first argument, such as digits"),
        (["plan"], 2, "no data set given; name one as the first argument, such as digits"),
        (["condense", "digits", "--ipc", "0"], 2, "ipc 0"),
        (["condense", "digits", "--ipc", "5000", "--profile", "smoke"], 2, "smallest class of digits has"),
        (["condense", "digits", "--method", "stam"], 2, "did you mean satm"),
        (["condense", "digits", "--profile", "papr"], 2, "did you mean paper"),
        (["condense", "digits", "--preset", "cifar10/ipc11"], 2, "did you mean cifar10/ipc1"),
        (["condense", "digits", "--set", "widow=3"], 2, "window"),
        (["condense", "digits", "--set", "window=three"], 2, "expected a whole number or null"),
        (["condense", "digits", "--set", "window"], 2, "expected KEY=VALUE"),
        (["condense", "digits", "--set", "window=99"], 2, "longer than the inner loop"),
        (["condense", "digits", "--set", "tau=1"], 2, "tau 1"),
        (["condense", "digits", "--set", "recipe=fast"], 2, "unknown recipe 'fast'"),
        (["condense", "digits", "--set", "ipc=2"], 2, "ipc is not a setting: it chooses the preset; give it as --ipc"),
        (
            ["tune", "digits", "--set", "method=dm"],
            2,
            "it chooses the preset; give it as --method",
        ),
        (["plan", "digits", "--set", "dataset=a"], 2, "chooses the preset; give it as the argument DATASET"),
        (["condense", "digits", "--set", "image_size=3000000000"], 2, "image_size 3000000000"),
        (["condense", "digits", "--set", "architecture=timm/resnet18", "--profile", "smoke"], 2, "running statistics"),
        (["condense", "digits", "--set", "inner_steps=0"], 2, "inner_steps 0"),
        (["condense", "digits", "--set", "lr_images=-1"], 2, "lr_images -1"),
        (["condense", "digits", "--set", "lr_images=NaN"], 2, "lr_images nan"),
        (["condense", "digits", "--set", "architecture=convnet9", "--profile", "smoke"], 2, "convnet"),
        (["condense", "digits", "--set", "image_size=4", "--profile", "smoke"], 2, "4"),
        (["condense", "digits", "--device", "cuda:7", "--profile", "smoke"], 2, "cuda:7"),
        (["condense", "digits", "--config", "absent.json"], 2, "the file says that already"),
        (["condense", "--config", "absent.json"], 2, "absent.json"),
        (["condense", "cifar10", "--data-root", "nowhere", "--profile", "smoke"], 1, "nowhere"),
        (["eval"], 1, "satm.db"),
        (["eval", "--learning-rate", "fast"], 2, "expected learned, grid, both or a number"),
        (["eval", "--baseline", "magic"], 2, "expected random"),
        (["eval-arch"], 2, "no architecture given"),
        (["eval-cl", "--memory", "none"], 2, "expected condensed, random, herding, reservoir or ssd"),
        (["results"], 1, "satm.db"),
        (["query", "select 1"], 1, "satm.db"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_without_a_registry(
    refused: Callable[..., str], here: Path, arguments: list[str], code: int, said: str
) -> None:
    assert said in refused(code, *arguments)
    assert not (here / "satm.db").exists() or not _sets(here / "satm.db")


def _sets(path: Path) -> list[tuple[str]]:
    with sqlite3.connect(path) as db:
        return db.execute("select name from sets").fetchall()


def test_bad_input_with_a_registry(satm: Callable[..., str], refused: Callable[..., str]) -> None:
    satm("condense", "digits", *QUICK)
    assert "did you mean digits/ipc1/satm@1" in refused(2, "eval", "digits/ipc1/satm@7")
    assert "did you mean resnet18" in refused(2, "eval-arch", "--arch", "resnet8")
    assert "recipe" in refused(2, "eval", "--recipe", "fast")
    assert "steps 11" in refused(2, "eval-cl", "--steps", "11")
    assert "steps 0" in refused(2, "eval-cl", "--steps", "0")
    assert "orders 0" in refused(2, "eval-cl", "--orders", "0")
    assert "colum" in refused(1, "query", "select colum from sets")
    refused(1, "query", "delete from sets")
    assert "digits/ipc1/satm@1" in satm("sets", "list")


def test_an_ipc_beyond_the_smallest_class_is_refused_before_experts_are_trained(
    refused: Callable[..., str], here: Path
) -> None:
    refused(2, "condense", "digits", "--ipc", "5000", "--profile", "smoke")
    assert not (here / "home" / "experts").exists()
    assert not (here / "satm.db").exists()


def test_a_config_file_is_checked(satm: Callable[..., str], refused: Callable[..., str], here: Path) -> None:
    good = json.loads(satm("condense", "digits", *QUICK, "--print-config"))
    for change in ({"profile": "quick"}, {"seed": "1"}, {"departures": "none"}, {"colour": 1}, {"data_root": 3}):
        (here / "run.json").write_text(json.dumps(good | change))
        assert "run.json" in refused(2, "condense", "--config", "run.json")
    (here / "run.json").write_text(json.dumps({**good, "config": good["config"] | {"recipe": "fast"}}))
    assert "unknown recipe" in refused(2, "condense", "--config", "run.json")
    (here / "run.json").write_text("{")
    assert "run.json" in refused(2, "condense", "--config", "run.json")
    (here / "run.json").write_text("[" * 200_000)
    line = refused(2, "condense", "--config", "run.json")
    assert line.endswith("--config run.json is not what --print-config writes: it is nested too deeply")
    (here / "run.json").write_text("{}")
    assert refused(2, "condense", "--config", "run.json").endswith("writes: 'preset' is missing")
    (here / "run.json").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "--config run.json is no text in UTF-8" in refused(2, "condense", "--config", "run.json")


def own_folder(path: Path, seed: int = 0) -> None:
    """A user's own data set: two classes of grey 16×16 PNG images, which differ in brightness."""
    generator = np.random.default_rng(seed)
    for split, count in (("train", 8), ("test", 4)):
        for label, level in (("dark", 60), ("light", 190)):
            (path / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(level - 50, level + 50, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(path / split / label / f"{i}.png")


def test_a_folder_of_a_users_own_by_its_path(satm: Callable[..., str], refused: Callable[..., str], here: Path) -> None:
    own_folder(here / "mine" / "shades")
    assert "stored shades/ipc1/satm@1" in satm("condense", "mine/shades", *QUICK)
    # No option names its folder: it is found in the folder that the run stored.
    out = satm("eval", "--repeats", "1", "--threads", "1")
    assert "shades/ipc1/satm@1" in out
    shutil.rmtree(here / "mine")
    own_folder(here / "mine" / "shades", seed=1)
    assert "are not the ones shades/ipc1/satm@1 was condensed from" in refused(1, "eval", "--threads", "1")


def test_results_are_called_what_they_are(satm: Callable[..., str]) -> None:
    satm("condense", "digits", "--threads", "1", "--profile", "paper", "--set", "architecture=convnet3_w8",
         "--set", "experts.count=1", "--set", "outer_steps=1", "--set", "inner_steps=3")  # fmt: skip
    assert satm("query", "select profile from sets", "--format", "csv").split()[1:] == ["custom"]
    for rate in ("learned", "0.3"):
        satm("eval", "--recipe", "smoke", "--repeats", "1", "--threads", "1", "--learning-rate", rate)
    rows = json.loads(satm("results", "--format", "json"))
    assert {row["profile"] for row in rows} == {"smoke"}
    assert {row["recipe"] for row in rows} == {
        "smoke, color_crop_scale_rotate",
        "smoke, color_crop_scale_rotate, lr 0.3",
    }


def test_cells_are_printed_as_they_are(satm: Callable[..., str]) -> None:
    satm("condense", "digits", "--method", "random", "--profile", "smoke")
    assert "[/x] [bold]" in satm("query", "select '[/x] [bold]' as text")
    assert "bytes>" in satm("query", "select data from blobs limit 1")


def test_the_state_of_a_lost_registry_is_not_taken_by_a_new_one(
    satm: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    satm("condense", "digits", *QUICK)
    (before,) = (here / "home" / "runs").glob("*.lock")
    # A stopped run leaves this file. Its registry has been lost since, and the next one has another UUID.
    from safetensors.torch import save_file

    save_file({"step": torch.tensor(3)}, before.with_suffix(".safetensors"))
    (here / "satm.db").unlink()
    assert run(["condense", "digits", *QUICK]) == 0
    assert "continuing" not in capsys.readouterr().err
    assert before.with_suffix(".safetensors").exists()
    assert satm("query", "select count(*) from metrics where name = 'loss'", "--format", "csv").split()[1:] == ["4"]


def test_a_file_that_is_no_registry(refused: Callable[..., str], here: Path) -> None:
    (here / "satm.db").write_text("no database at all, and longer than the header of one " * 4)
    before = (here / "satm.db").read_bytes()
    for arguments in (["condense", "digits", *QUICK], ["results"], ["sets", "list"], ["query", "select 1"]):
        assert "satm.db" in refused(1, *arguments)
    assert (here / "satm.db").read_bytes() == before


def test_a_first_step_that_explodes_is_reported(refused: Callable[..., str], here: Path) -> None:
    line = refused(1, "condense", "digits", *QUICK, "--set", "lr_images=1e38", "--set", "min_step_size=1e-9")
    assert "outer step 1: update_ratio" in line
    assert "in 6 tries" in line
    assert "lower lr_images (1e+38) below about" in line
    assert "--from" not in line  # no step was done yet
    with sqlite3.connect(here / "satm.db") as db:
        assert db.execute("select status from runs").fetchall() == [("failed",)]
        assert not db.execute("select * from sets").fetchall()


def test_steps_that_fail_are_events_and_a_run_that_stops_goes_on_under_other_settings(
    satm: Callable[..., str], refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    satm("condense", "digits", *QUICK)
    query = "select value from metrics where name = 'update_ratio' order by step"
    ratios = [float(value) for value in satm("query", query, "--format", "csv").split()[1:]]
    assert ratios[0] < ratios[1]  # momentum
    tight = ["--set", f"guard.max_update_ratio={(ratios[0] + ratios[1]) / 2}"]

    assert run(["condense", "digits", *QUICK, *tight]) == 0
    printed = capsys.readouterr()
    assert "outer step 2: rolled back at update ratio " in printed.err
    assert ", failed tries 1" in printed.err
    assert "outer steps with events: rolled back at update ratio at " in printed.err
    assert "stored digits/ipc1/satm@2" in printed.out

    line = refused(1, "condense", "digits", *QUICK, *tight, "--set", "guard.retries=0")
    assert line.startswith("error: outer step 2: update_ratio ")
    assert "lower lr_images (" in line
    (identity,) = satm("query", "select id from runs where status = 'failed'", "--format", "csv").split()[1:]
    assert f"--from {identity}" in line
    events = "select name, step from metrics where name like 'event.%' and run_id = '" + identity + "'"
    assert satm("query", events, "--format", "csv").split()[1:] == [
        "event.failed_tries,1",
        "event.rolled_back_at_update_ratio,1",
    ]

    assert "only the method's own settings" in refused(
        2, "condense", "digits", *QUICK, "--ipc", "2", "--from", identity
    )
    assert "0 condensations have an id" in refused(1, "condense", "digits", *QUICK, "--from", "nonsense")
    assert run(["condense", "digits", *QUICK, "--set", "lr_images=0.5", "--from", identity[:8]]) == 0
    printed = capsys.readouterr()
    assert "continuing from outer step 1 of 4" in printed.err
    assert "stored digits/ipc1/satm@3" in printed.out
    shown = json.loads(satm("sets", "show", "latest", "--json"))
    assert f"run:{identity}" in shown["parents"]
    (departure,) = [d for d in shown["run"]["config"]["departures"] if identity in d]
    assert departure.startswith(f"outer steps 1 to 1 made by run {identity} with lr_images = ")
    again = ["condense", "digits", *QUICK, "--set", "lr_images=0.5", "--from", identity]
    assert "already stored: digits/ipc1/satm@3" in satm(*again)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(refused: Callable[..., str], here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    refused(1, "condense", "digits", *QUICK, "--registry", "locked/satm.db")


def test_unknown_options_and_commands_are_wrong_usage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["condense", "digits", "--ipcs", "1"], ["condens"], ["results", "--format", "xml"]):
        assert run(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_how_training_is_run_can_be_chosen_and_is_stored(satm, refused):
    asked = satm("condense", "digits", *QUICK, "--compilation", "eager", "--print-config")
    assert json.loads(asked)["config"]["settings"]["compile"] == "eager"
    assert (
        json.loads(asked)["departures"]
        == json.loads(satm("condense", "digits", *QUICK, "--print-config"))["departures"]
    )
    satm("condense", "digits", "--method", "random", *QUICK[:4])
    satm("eval", "--repeats", "1", "--threads", "1", "--compilation", "eager")
    assert '"eager"' in satm(
        "query", "select json_extract(detail, '$.training') as training from results", "--format", "json"
    )
    for command in (("eval",), ("eval-arch", "--arch", "convnet3_w4"), ("eval-cl", "--steps", "5")):
        assert "--compilation fast: expected auto, compiled or eager" in refused(2, *command, "--compilation", "fast")
    assert "'compiled' or 'eager'" in refused(2, "experts", "digits", *QUICK[:2], "--compilation", "fast")
