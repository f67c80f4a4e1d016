"""`satm runs`, `satm registry` and `satm sets tag|lineage|rebuild` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import Registry
from satm.cli import run
from satm.home import home
from satm.workflow.fan_out.scratch import held
from tests.registry.helpers import SET, a_set, start

CONDENSE = ["condense", "digits", "--ipc", "1", "--method", "dm", "--profile", "smoke", "--threads", "1"]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def refused(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must be refused with this exit code and one line. Returns that line."""

    def command(code: int, *arguments: str) -> str:
        assert run(arguments) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return command


@pytest.fixture
def working(here: Path) -> Iterator[subprocess.Popen[str]]:
    """A condensation in another process that never ends by itself."""
    code = "import sys; from satm.cli import run; sys.argv[0] = 'satm'; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *CONDENSE, "--set", "outer_steps=100000", "--compilation", "eager"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    yield process
    process.kill()
    process.communicate()


def id_of_running(here: Path) -> str:
    """The id of the first run in the registry, as soon as there is one."""
    for _ in range(600):
        if (here / "satm.db").exists():
            with Registry.open(here / "satm.db") as store:
                if found := store.runs():
                    return found[0].id
        time.sleep(0.1)
    raise AssertionError("no run has started")


def states(satm: Callable[..., str]) -> list[str]:
    return [row["state"] for row in json.loads(satm("runs", "list", "--format", "json"))]


def test_a_run_is_listed_stopped_resumed_and_killed(
    working: subprocess.Popen[str], here: Path, satm: Callable[..., str], refused: Callable[..., str]
) -> None:
    run_id = id_of_running(here)
    assert states(satm) == ["running"]
    assert "stop it first" in refused(1, "runs", "resume", run_id)
    assert "stop it first" in refused(1, "runs", "rm", run_id)
    assert f"asked process {working.pid} to stop" in satm("runs", "stop", run_id[:6])
    _, said = working.communicate(timeout=120)
    assert (working.returncode, "all saved" in said) == (130, True)
    assert states(satm) == ["interrupted"]
    assert "is not running, it is interrupted" in refused(1, "runs", "stop", run_id)
    shown = json.loads(satm("runs", "show", run_id, "--json"))
    assert (shown["pid"], shown["state"], len(shown["saved_state"])) == (working.pid, "interrupted", 1)

    code = "from satm.cli import run; run(['runs', 'resume', 'latest'])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    again = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)
    assert again.stderr is not None
    while "continuing from outer step" not in (line := again.stderr.readline()):
        assert line, "it ended"
    again.send_signal(signal.SIGKILL)
    again.communicate()
    assert states(satm) == ["dead"]
    assert f"is dead: process {again.pid} has ended" in refused(1, "runs", "stop", run_id)
    assert f"removed run {run_id}" in satm("runs", "rm", run_id)
    assert states(satm) == []
    assert not list((home() / "runs").glob("*.safetensors*"))


def test_an_evaluation_is_resumed_by_its_arguments(
    here: Path, satm: Callable[..., str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    satm(*CONDENSE, "--set", "outer_steps=2")
    words = ["eval", "--repeats", "1", "--threads", "1", "--registry", "satm.db"]
    monkeypatch.setattr(sys, "argv", ["satm", *words])
    satm(*words)
    with Registry.open("satm.db") as store:
        run_id, results = store.runs(kind="eval")[0].id, store.results()
    moved = here / "else where"
    moved.mkdir()
    registry = (here / "satm.db").rename(moved / "moved.db")
    for _ in range(2):  # a run that was resumed is resumed again
        with Registry.open(registry) as store:
            store.finish_run(run_id, status="interrupted")
            with store._writing() as db:
                db.execute("DELETE FROM results WHERE metric = 'accuracy'")
        for name, value in (("--device", "cpu"), ("--threads", "1"), ("--data-root", ".")):
            line = refused(2, "runs", "resume", run_id, name, value, "--registry", str(registry))
            assert f"{name}: an evaluation goes on by its stored arguments; leave it out" in line
        monkeypatch.chdir(moved)
        satm("runs", "resume", run_id, "--registry", "moved.db")
        assert Path.cwd() == here  # the folder that the evaluation ran in
        assert not (here / "satm.db").exists()
        with Registry.open(registry) as store:
            assert [run.status for run in store.runs()] == ["done", "done"]
            assert [(row.metric, row.value) for row in store.results()] == [(row.metric, row.value) for row in results]


def test_a_run_that_is_done_is_not_resumed_and_stays(satm: Callable[..., str], refused: Callable[..., str]) -> None:
    satm(*CONDENSE, "--set", "outer_steps=2")
    assert "is done: see digits/ipc1/dm@1" in refused(2, "runs", "resume", "latest")
    assert "made 1 rows of the table sets" in refused(1, "runs", "rm", "latest")
    assert "unknown run 'nobody'" in refused(2, "runs", "show", "nobody")


def test_tags_lineage_and_rebuild(here: Path, satm: Callable[..., str], refused: Callable[..., str]) -> None:
    satm(*CONDENSE, "--set", "outer_steps=2")
    assert satm("sets", "tag", "baseline") == "baseline is digits/ipc1/dm@1\n"
    (row,) = json.loads(satm("sets", "list", "--format", "json"))
    assert row["tags"] == "baseline"
    shown = json.loads(satm("sets", "show", "baseline", "--json"))
    assert shown["tags"] == ["baseline"]
    lines = satm("sets", "lineage", "baseline").splitlines()
    assert lines == shown["lineage"]
    assert [line.split()[0] for line in lines] == ["set", "run", "environment", "data"]
    assert shown["parents"][0].removeprefix("data:") in lines[-1]
    assert "the same set, bit for bit" in satm("sets", "rebuild", "baseline")
    assert "expected a letter" in refused(2, "sets", "tag", "latest")
    satm("sets", "tag", "baseline", "--remove")
    assert "unknown set 'baseline'" in refused(2, "sets", "show", "baseline")


def test_backup_merge_and_verify(here: Path, satm: Callable[..., str], refused: Callable[..., str]) -> None:
    for name, seeds in (("satm.db", (0, 1)), ("other.db", (1, 2))):
        with Registry.open(name) as store:
            for seed in seeds:
                store.add_set(a_set(seed), run=None)
    assert satm("registry", "backup", "copy.db").startswith("satm.db copied to copy.db")
    assert "is there already" in refused(1, "registry", "backup", "copy.db")
    said = satm("registry", "merge", "other.db")
    assert "cifar10/ipc2/satm@3, which is cifar10/ipc2/satm@2 in other.db" in said
    assert "1 sets, 0 runs and 0 results are new" in said
    assert "3 sets and 0 results, nothing wrong" in satm("registry", "verify")
    with Registry.open("satm.db") as store:
        store._db.execute("DROP TRIGGER blobs_never_change")
        store._db.execute("UPDATE blobs SET data = zeroblob(size) WHERE rowid = 1")
    assert "is damaged" in refused(1, "registry", "verify")
    assert "2 sets and 0 results, nothing wrong" in satm("registry", "verify", "--registry", "copy.db")


def test_gc_removes_what_nothing_needs_and_nothing_else(satm: Callable[..., str], here: Path) -> None:
    from filelock import FileLock

    with Registry.open("satm.db") as store:
        done, stopped = (store.run(start(store, store.run_key({"run": which}))) for which in ("done", "stopped"))
        removed = store.run_key({"run": "removed"})
        store.finish_run(done.id, status="done")
    folder = home() / "runs"
    folder.mkdir(parents=True)
    other = "0123abcd-other"
    for key in (done.key, stopped.key, removed, other):
        (folder / f"{key}.safetensors").write_bytes(b"123")
    (folder / f"{done.key}.lock").touch()
    (folder / f"{stopped.key}.lock").touch()
    left = folder / "x.safetensors.left.tmp"
    left.mkdir()
    (left / "x").write_bytes(b"1")
    (folder / "x.safetensors.young.tmp").write_bytes(b"1")
    slow = folder / "y.safetensors.slow.tmp"  # somebody writes into a file of it at this moment
    slow.mkdir()
    (slow / "y").write_bytes(b"1")
    for old in (left / "x", left, slow):
        os.utime(old, (0, 0))
    mine = [home() / "proj" / name for name in ("poetry.lock", "old.safetensors.x.tmp")]  # satm has no such folder
    mine[0].parent.mkdir()
    for file in mine:
        file.touch()
        os.utime(file, (0, 0))
    os.utime(folder / f"{other}.safetensors", (0, 0))
    before = sorted(folder.iterdir())
    with FileLock(folder / f"{stopped.key}.lock"):
        planned = satm("registry", "gc", "--dry-run")
        assert sorted(folder.iterdir()) == before
        removed_now = satm("registry", "gc")
        assert planned.replace("would remove", "removed") == removed_now
        assert sorted(file.name for file in folder.iterdir()) == sorted(
            [
                *(f"{stopped.key}.safetensors", f"{stopped.key}.lock", f"{other}.safetensors"),
                *(f"{removed}.safetensors", "x.safetensors.young.tmp", slow.name),
            ]
        )
    assert "2 saved states are of runs that this registry does not know, and stay" in removed_now
    assert all(file.exists() for file in mine)
    satm("registry", "gc", "--older-than", "1")
    assert not (folder / f"{other}.safetensors").exists()
    assert (folder / f"{stopped.key}.safetensors").exists()


def test_gc_removes_old_registries_of_ray_tasks_that_nobody_uses(satm: Callable[..., str], here: Path) -> None:
    Registry.open("satm.db").close()
    folder = home() / "ray"
    folder.mkdir(parents=True)
    for name in ("old", "used", "young"):
        for ending in ("db", "db-wal"):
            file = folder / f"{name}.{ending}"
            file.write_bytes(b"123")
            if name != "young":
                os.utime(file, (0, 0))
    assert "3 registries of Ray tasks may hold work" in satm("registry", "gc")
    assert len(list(folder.iterdir())) == 6
    with held(folder / "used.db"):
        printed = satm("registry", "gc", "--older-than", "1")
    assert sorted(file.name for file in folder.iterdir()) == ["used.db", "used.db-wal", "young.db", "young.db-wal"]
    assert "old.db (3 bytes): of a Ray task, older than 1 days" in printed
    assert "1 registries of Ray tasks may hold work" in printed


def test_gc_goes_on_after_a_file_that_it_may_not_remove(
    satm: Callable[..., str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry.open("satm.db") as store:
        keys = [store.run_key({"run": which}) for which in range(2)]
        for key in keys:
            store.finish_run(start(store, key), status="done")
    files = [home() / "runs" / f"{key}.safetensors" for key in keys]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.touch()
    theirs, unlink = min(files), Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == theirs:
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    printed = satm("registry", "gc")
    assert f"no permission to remove {theirs}; their owner can" in printed
    assert [file.exists() for file in sorted(files)] == [True, False]


def test_gc_of_a_copy_leaves_the_runs_of_the_registry(satm: Callable[..., str], here: Path) -> None:
    satm_db = Registry.open("satm.db")
    satm("registry", "backup", "copy.db")  # it has the same UUID, and no run yet
    run = satm_db.run(start(satm_db, satm_db.run_key({"run": "later"})))
    satm_db.close()
    state = home() / "runs" / f"{run.key}.safetensors"
    state.parent.mkdir(parents=True)
    state.touch()
    satm("registry", "gc", "--registry", "copy.db")
    assert state.exists()


def test_a_state_that_does_not_exist_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Registry.open("satm.db") as store:
        store.add_set(SET, run=start(store))
    assert run(["runs", "list", "--state", "runing"]) == 2
    assert "'dead', 'silent'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"],
        ["runs", "show"],
        ["registry", "gc", "--dry-run"],
        ["registry", "backup", "copy.db"],
        ["sets", "lineage"],
        ["sets", "tag", "best"],
        ["sets", "list"],
        ["sets", "show"],
    ],
    ids=" ".join,
)
def test_commands_that_only_look_load_no_torch(here: Path, words: list[str]) -> None:
    with Registry.open("satm.db") as store:
        store.add_set(SET, run=start(store))
    code = "import sys; from satm.cli import run; assert run(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (0, "")
