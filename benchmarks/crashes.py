"""Kills commands at random, starts them again, and compares their final files with those of an undisturbed run.

    python benchmarks/crashes.py [--kills 100] [--seed 0] [--only experts,condense,eval,eval-cl,import]

A trial kills a command (with SIGKILL) one to four times. After each kill it starts the same command again, and the last
start is not killed. Half of the kills come at a random moment. The other half come inside a write. For these, a small
library, the shim (crash_shim.c), is loaded before libc. It sees every system call that changes a file, and ends the
process at a randomly chosen one of these calls: half way through a write, before a sync, or at a rename.

After each kill the registry must pass SQLite's check, its sets must load, and no kept file (satm/kept.py) may be
damaged. At the end of a trial the sets, results, metrics and kept files must be equal to those of the undisturbed run,
to the last bit.

After the trials come the disasters. They happen in the middle of a condensation: the disk is full, another process
holds the write lock of the registry, or the registry is read-only, moved or deleted. The command must succeed or end
with one clear error message. After the cause is removed, the same command must finish the work.

The program prints a row for each command and each disaster. Its exit code is 1 if anything is lost. It needs Linux and
a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHIM = Path(__file__).with_name("crash_shim.c")
COUNT, KILL, FULL = 0, 1, 2  # modes of the shim: count the writes, die in write n, let write n and all later ones fail
CAPABILITIES = 0x20080522  # version 3 of the Linux interface for capabilities; see the manual page capget(2)
DAC_OVERRIDE, DAC_READ_SEARCH = 1 << 1, 1 << 2  # root's rights to write and to read files whose modes forbid it
PATIENCE = 300.0  # the longest time that a command may take, in seconds

NETWORK = ["--set", "architecture=convnet3_w4"]
EXPERTS = ["--set", "experts.count=2", "--set", "experts.batch_size=32"]
STEPS = ["outer_steps=6", "inner_steps=3", "expert_epochs=1", "max_start_epoch=1", "window=1", "diagnostics_every=0"]
CONDENSE = [
    "condense",
    "shapes",
    "--profile",
    "smoke",
    "--compilation",
    "eager",
    *NETWORK,
    *EXPERTS,
    "--set",
    "zca=true",
]
CONDENSE += [word for each in STEPS for word in ("--set", each)]
QUICK = ["--compilation", "eager", "--threads", "1"]
COMMANDS: dict[str, list[str]] = {
    "experts": ["experts", "shapes", *CONDENSE[2:]],
    "condense": [*CONDENSE, "--threads", "1"],
    "eval": ["eval", "latest", "--repeats", "3", *QUICK],
    "eval-cl": ["eval-cl", "latest", "--protocol", "der", "--steps", "3", "--orders", "1", "--networks", "2", *QUICK],
    "import": ["sets", "import", "set.safetensors", "--format", "safetensors"],
}


@dataclass(frozen=True)
class End:
    """How one process ended."""

    code: int  # the exit code; -9 for a killed process
    writes: int  # the number of writes that the process made to its folder; 0 if it was killed
    seconds: float  # the duration of the process
    said: str  # everything that the process wrote to stdout and stderr


class Place:
    """The folders of this program. All trials run in the folder `work`, so that all trials have the same paths.

    `starts` holds copies of `work` by name. A trial begins with one of these copies.
    """

    def __init__(self, scratch: Path) -> None:
        self.work, self.starts = scratch / "work", scratch / "starts"
        self.registry, self.home = self.work / "satm.db", self.work / "home"
        self.log = scratch / "out.log"

    def reset(self, start: str) -> None:
        """Replace `work` by the copy that `save` stored under the name `start`."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.starts / start, self.work)

    def save(self, start: str) -> None:
        """Store a copy of `work` under the name `start`."""
        shutil.copytree(self.work, self.starts / start)


def obey_modes() -> None:
    """Make this process obey the modes of files, even if it runs as root.

    Otherwise a read-only file would not stop a process of root. The process keeps its user, which owns the files of
    Python, so it can still import modules.
    """
    system, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    # Linux has three sets of rights: effective, permitted and inheritable. The array holds bits 0 to 31 of the three
    # sets, and then bits 32 to 63 of the three sets.
    rights = (ctypes.c_uint32 * 6)()
    for call in (system.capget, system.capset):
        if call(header, rights):
            raise OSError(ctypes.get_errno(), "the rights of root cannot be changed")
        for each in (0, 1):  # the effective and the permitted set
            rights[each] &= ~(DAC_OVERRIDE | DAC_READ_SEARCH)


def start(
    place: Place, command: list[str], *, at: int = 0, mode: int = COUNT, obedient: bool = False
) -> tuple[int, int]:
    """Start a command in a fork of this process.

    It is a fork because importing the modules in a new process would take longer than the command itself.

    Args:
        at: the number of the write at which the shim acts, counted from 1.
        mode: what the shim does: `COUNT`, `KILL` or `FULL`.
        obedient: whether the command must obey the modes of files (`obey_modes`).

    Returns the process id and the reading end of a pipe. The command writes its number of writes to the pipe.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    code = 70
    try:
        os.close(reader)
        os.chdir(place.work)
        out = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(out, 1), os.dup2(out, 2)
        os.environ |= {"SATM_HOME": str(place.home), "SATM_REGISTRY": str(place.registry), "SATM_DATA": str(place.work)}
        if obedient:
            obey_modes()
        from satm.cli import run
        from satm.workflow.condense import outer_loop

        outer_loop.SAVE_SECONDS = 0.0  # a checkpoint after every outer step, so that some kills come while one is saved
        shim = ctypes.CDLL(None)
        shim.crash_arm(ctypes.c_long(at), mode, str(place.work).encode())
        code = run(command)
        os.write(writer, str(shim.crash_seen()).encode())
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def finish(place: Place, process: int, reader: int, since: float, *, kill_after: float | None = None) -> End:
    """Wait for the end of a process that `start` has started at time `since`, and return how it ended.

    If `kill_after` is given, kill the process so many seconds after `since`, unless it has ended. If it is None and the
    process takes longer than `PATIENCE`, end this program.
    """
    limit = PATIENCE if kill_after is None else kill_after
    while not (done := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() - since > limit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            if kill_after is None:
                raise SystemExit(f"a command took over {PATIENCE:g} s: {place.log.read_text()}")
        time.sleep(0.002)
    with os.fdopen(reader) as pipe:
        writes = int(pipe.read() or 0)
    said = place.log.read_text(errors="replace") if place.log.exists() else ""
    return End(os.waitstatus_to_exitcode(done[1]), writes, time.monotonic() - since, said)


def run(place: Place, command: list[str], *, kill_after: float | None = None, **options: Any) -> End:
    """Run a command until it ends or is killed. `options` are those of `start`; for `kill_after` see `finish`."""
    since = time.monotonic()
    return finish(place, *start(place, command, **options), since, kill_after=kill_after)


def kept_files(place: Place) -> dict[str, Any]:
    """The content of each kept file, by its path in `SATM_HOME`. Raises DamagedFile for a damaged file.

    A file that a killed process left half written has `.tmp/` in its path. It is not a kept file and is left out.
    """
    from satm.kept import opened

    found = {}
    for path in sorted(place.home.rglob("*.safetensors")):
        name = path.relative_to(place.home).as_posix()
        if ".tmp/" not in name:
            with opened(path) as file:
                assert file is not None
                file.check()
                # The stamp depends on the modification times of the image files, and each trial copies these files.
                about = {key: value for key, value in file.about.items() if key != "stamp"}
                tensors = {key: tensor.numpy().tobytes() for key, tensor in file.tensors().items()}
                found[name] = (json.dumps(about), tensors)
    return found


def rows(place: Place, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query to the registry; [] if the registry or the table does not exist yet."""
    if not place.registry.exists():
        return []
    with contextlib.closing(sqlite3.connect(place.registry)) as db, contextlib.suppress(sqlite3.OperationalError):
        return db.execute(sql).fetchall()
    return []


def check(place: Place) -> None:
    """Raise an error if the registry, one of its sets or a kept file is damaged."""
    from registry import Registry

    kept_files(place)
    if place.registry.exists() and place.registry.stat().st_size:
        assert rows(place, "PRAGMA integrity_check") == [("ok",)], "the registry is damaged"
        with Registry.open(place.registry) as store:
            for record in store.sets():
                store.load(record.id)


def outcome(place: Place) -> dict[str, Any]:
    """Everything that a finished command has stored and that must not depend on kills, by name."""
    # Runs are not identified by their key. The key contains the UUID of the registry, which differs between trials.
    metrics = "select distinct r.kind, m.name, m.step, m.value from metrics m join runs r on r.id = m.run_id"
    measured = "set_id, protocol, architecture, memory, recipe_id, steps, repeat, step, metric, value, seed, step_size"
    return {
        "kept": kept_files(place),
        "sets": rows(place, "select id, name from sets order by id"),
        "results": rows(place, f"select {measured} from results order by {measured}"),
        "metrics": rows(place, f"{metrics} where m.name in ('loss', 'step_size') order by r.kind, m.name, m.step"),
        "unfinished": rows(place, "select id from runs where status <> 'done' and seq = (select max(seq) from runs)"),
    }


@dataclass
class Tally:
    """The counts of all trials of one command."""

    kills: int = 0
    inside: int = 0  # the number of kills that came inside a write
    trials: int = 0
    lost: int = 0  # the number of trials in which something was lost
    what: str = ""  # the first thing that was lost, as a message; "" if nothing was lost


def trial(
    place: Place, name: str, undisturbed: End, expected: dict[str, Any], rng: random.Random, tally: Tally
) -> None:
    """Kill the command `name` one to four times, then let it finish, and compare its outcome with `expected`.

    `undisturbed` and `expected` are the end and the outcome of a run without kills. The result is added to `tally`.
    """
    place.reset(name)
    tally.trials += 1
    try:
        for number in range(rng.randint(1, 4)):
            inside = rng.random() < 0.5
            if inside:
                last = max(1, undisturbed.writes // (1 + number))
                end = run(place, COMMANDS[name], at=rng.randint(1, last), mode=KILL)
            else:
                end = run(place, COMMANDS[name], kill_after=rng.uniform(0, undisturbed.seconds))
            if end.code != -signal.SIGKILL:
                assert end.code == 0, end.said
                continue  # the command had finished before the kill
            tally.kills += 1
            tally.inside += inside
            check(place)
        end = run(place, COMMANDS[name])
        assert end.code == 0, end.said
        found = outcome(place)
        differing = [key for key in expected if found[key] != expected[key]]
        assert not differing, f"differs from the undisturbed run: {', '.join(differing)}"
    except Exception as error:  # a failed trial is counted, and the next trial still runs
        tally.lost += 1
        tally.what = tally.what or f"{type(error).__name__}: {' '.join(str(error).split())[-600:]}"


# Each of the four functions below disturbs a running command. After the block it repairs what it disturbed.


@contextlib.contextmanager
def lock_held(place: Place) -> Iterator[None]:
    """This process holds the write lock of the registry during the block."""
    with contextlib.closing(sqlite3.connect(place.registry, isolation_level=None, timeout=10)) as db:
        db.execute("begin immediate")
        yield
        db.execute("rollback")


@contextlib.contextmanager
def moved(place: Place) -> Iterator[None]:
    """The files of the registry have other names during the block. After the block they have their own names again.

    If the command has created a new registry in the meantime, it is removed.
    """
    parts = list(place.work.glob("satm.db*"))
    for each in parts:
        each.rename(each.with_name("away-" + each.name))
    yield
    for each in place.work.glob("satm.db*"):
        each.unlink()
    for each in place.work.glob("away-*"):
        each.rename(each.with_name(each.name.removeprefix("away-")))


@contextlib.contextmanager
def deleted(place: Place) -> Iterator[None]:
    """The files of the registry are deleted. After the block nothing is repaired."""
    for each in place.work.glob("satm.db*"):
        each.unlink()
    yield


@contextlib.contextmanager
def read_only(place: Place) -> Iterator[None]:
    """The registry and its folder are read-only during the block."""
    paths = [place.work, *place.work.glob("satm.db*")]
    modes = [path.stat().st_mode & 0o777 for path in paths]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode)


DISASTERS = {"write lock held": lock_held, "read-only": read_only, "registry moved": moved, "registry deleted": deleted}


@dataclass(frozen=True)
class Aftermath:
    """The result of one disaster."""

    end: End  # how the disturbed command ended
    lost: str  # what was lost; "" if nothing was lost


def disaster(place: Place, what: str, undisturbed: End, expected: dict[str, Any]) -> Aftermath:
    """Start `condense`, cause the disaster `what` while it runs, and then run the same command again.

    `undisturbed` and `expected` are the end and the outcome of a run without a disaster.
    """
    place.reset("condense-later")
    since = time.monotonic()
    process, reader = start(place, COMMANDS["condense"], obedient=what == "read-only")
    while not place.registry.exists() or not rows(place, "select 1 from runs where kind = 'condense'"):
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) or time.monotonic() - since > PATIENCE:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            raise SystemExit(f"{what}: no run was started, or it ended at once: {place.log.read_text()}")
        time.sleep(0.005)
    with DISASTERS[what](place):
        time.sleep(undisturbed.seconds / 2)
        if what == "write lock held":
            time.sleep(2)
        else:
            end = finish(place, process, reader, since)
    if what == "write lock held":
        end = finish(place, process, reader, since)
    # The metrics of a run are stored only in the registry, so they are lost with a deleted registry. The next run
    # makes the set again, and the set must be the same.
    return Aftermath(end, lost_by(place, end, expected, ["sets"] if what == "registry deleted" else list(expected)))


def full_disk(place: Place, writes: int, expected: dict[str, Any], rng: random.Random) -> Aftermath:
    """Run `condense` on a disk that becomes full at a random write, then run the same command on a good disk."""
    place.reset("condense-later")
    end = run(place, COMMANDS["condense"], at=rng.randint(1, max(1, writes - 5)), mode=FULL)
    return Aftermath(end, lost_by(place, end, expected, list(expected)))


def lost_by(place: Place, end: End, expected: dict[str, Any], compared: list[str]) -> str:
    """Run a disturbed command again, and return what was lost; "" if nothing was lost.

    `end` is how the disturbed command ended. Only the entries of `expected` that `compared` names are compared.
    """
    if "Traceback" in end.said or end.code not in (0, 1):
        return f"no clear line: {end.said[-300:]}"
    try:
        check(place)
        again = run(place, COMMANDS["condense"])
        assert again.code == 0, again.said[-300:]
        found = outcome(place)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"
    differing = [key for key in compared if found[key] != expected[key]]
    return f"differs from the undisturbed run: {', '.join(differing)}" if differing else ""


def prepare(place: Place) -> None:
    """Make the data set, and save the folder from which the trials of each command start."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(3):
        for number, image in enumerate(digits.images[digits.target == label][:40]):
            folder = place.work / "shapes" / ("train" if number < 30 else "test") / f"digit{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).save(folder / f"{number}.png")
    for name in ("experts", "condense"):
        place.save(name)
    for command in (COMMANDS["condense"], ["sets", "export", "latest", "set.safetensors", "--format", "safetensors"]):
        end = run(place, command)
        assert end.code == 0, end.said
    for name in ("eval", "eval-cl"):
        place.save(name)
    for each in place.work.glob("satm.db*"):
        each.unlink()
    # Without the registry, but with decoded images, ZCA transform, experts and the exported set.
    for name in ("import", "condense-later"):
        place.save(name)


def measured(place: Place, name: str, start_from: str) -> tuple[End, dict[str, Any]]:
    """Run the command `name` undisturbed from the saved folder `start_from`; return how it ended and its outcome."""
    place.reset(start_from)
    end = run(place, COMMANDS[name])
    assert end.code == 0, end.said
    return end, outcome(place)


def preload() -> None:
    """Import the modules that the commands need, so that the forks do not have to import them again."""
    import avalanche.benchmarks  # noqa: F401
    import timm  # noqa: F401
    import torch

    import protocols.run  # noqa: F401
    import satm.cli
    import satm.workflow.incremental.run  # noqa: F401

    torch.set_num_threads(1)


def with_shim() -> None:
    """Compile the shim and start this program again with the shim loaded. Do nothing if it is loaded already."""
    if hasattr(ctypes.CDLL(None), "crash_arm"):
        return
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        raise SystemExit("kills inside a write need Linux and a C compiler (cc)")
    library = Path(tempfile.mkdtemp(prefix="satm-shim-")) / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"], check=True)
    os.environ |= {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    os.execv(sys.executable, sys.orig_argv)


def main() -> int:
    """Run the trials and the disasters. Returns the exit code: 1 if anything was lost, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="stop after so many kills (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(COMMANDS), help="commands, with commas between them")
    parser.add_argument("--no-disasters", action="store_true")
    options = parser.parse_args()
    with_shim()
    preload()
    rng, names = random.Random(options.seed), options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="satm-crashes-") as scratch:
        os.chmod(scratch, 0o777)
        place = Place(Path(scratch).resolve())
        prepare(place)
        lost = kill_all(place, names, options.kills, rng)
        if not options.no_disasters:
            lost += bring_disasters(place, rng)
    return 1 if lost else 0


def kill_all(place: Place, names: list[str], kills: int, rng: random.Random) -> int:
    """Run trials until `kills` kills are made in all and each command was killed at least once.

    The next trial is always of the command with the fewest kills. Prints a row for each command. Returns the number of
    trials in which something was lost.
    """
    tallies = {name: Tally() for name in names}
    references = {name: measured(place, name, name) for name in names}
    while sum(tally.kills for tally in tallies.values()) < kills or not all(tally.kills for tally in tallies.values()):
        name = min(names, key=lambda each: tallies[each].kills)
        trial(place, name, *references[name], rng, tallies[name])
    print(f"{'command':10} {'kills':>6} {'inside a write':>15} {'trials':>7} {'lost':>5}  writes of an undisturbed run")
    for name, tally in tallies.items():
        print(
            f"{name:10} {tally.kills:6} {tally.inside:15} {tally.trials:7} {tally.lost:5}  {references[name][0].writes}"
        )
        if tally.what:
            print(f"  {tally.what}")
    total = [
        sum(getattr(tally, field) for tally in tallies.values()) for field in ("kills", "inside", "trials", "lost")
    ]
    print(f"{'all':10} {total[0]:6} {total[1]:15} {total[2]:7} {total[3]:5}", flush=True)
    return total[3]


def bring_disasters(place: Place, rng: random.Random) -> int:
    """Run each disaster once, and the full disk three times. Prints a row for each run.

    Returns the number of runs in which something was lost.
    """
    undisturbed, expected = measured(place, "condense", "condense-later")
    found = [(what, disaster(place, what, undisturbed, expected)) for what in DISASTERS]
    found += [("full disk", full_disk(place, undisturbed.writes, expected, rng)) for _ in range(3)]
    for what, after in found:
        said = after.end.said.strip().splitlines()[-1:] or [""]
        print(f"{what:18} {after.lost or 'nothing lost'}; it ended with {after.end.code}: {said[0]}", flush=True)
    return sum(bool(after.lost) for _, after in found)


if __name__ == "__main__":
    sys.exit(main())
