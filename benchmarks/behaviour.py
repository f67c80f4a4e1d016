"""Records what the suite computes in one JSON file, to prove that a change of structure changes no number.

    python benchmarks/behaviour.py before.json                            # at the commit before the change
    python benchmarks/behaviour.py after.json --against before.json       # after the change, on the same machine

The program runs the commands that a user types. It condenses the digits (scikit-learn's data set, which needs no
download) at the profile `smoke` with all methods and outer rules. It evaluates the sets, runs all class-incremental
protocols, exports a set in every layout, and imports one of the exports. The JSON file, called the record, holds set
ids, result rows, the metrics of each outer step, and the hash of every exported file. It also holds a hash of the whole
configuration of every method on CIFAR-10 at each profile.

With `--against`, the program fails if a value of the earlier record is missing or has changed. New values are listed,
and they are no failure, because a change of structure may add a metric. The last bits of a number depend on the
processor and on the versions of the libraries. So compare two records only if the same machine and the same
environment made both. The program takes about twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from protocols.base import PROTOCOLS
from satm.methods import METHODS, OUTER

LAYOUTS = ("mtt", "datm", "dc", "kip", "rded", "dd-ranking", "imagefolder", "parquet", "safetensors")
TIMINGS = ("outer_step_seconds", "peak_bytes")  # metrics that differ from run to run, so they are not recorded


def satm(*arguments: str) -> str:
    """Run one `satm` command in this process, and return what it prints. If the command fails, end the program."""
    from satm.cli import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = run([*arguments])
    if code:
        sys.exit(f"satm {' '.join(arguments)}: exit code {code}\n{out.getvalue()}")
    print("satm", *arguments, flush=True)
    return out.getvalue()


def run_everything(folder: Path) -> None:
    """Run every command. The exported files go to `folder`/exported; `main` has placed the registry in `folder`."""
    one = ("--threads", "1")
    smoke = ("--profile", "smoke", *one)
    made = {}  # the name of each method's set
    for method in METHODS:
        # With fewer than two images per class MDC changes nothing, so its set has three.
        ipc = "3" if method == "mdc" else "1"
        printed = satm("condense", "digits", "--ipc", ipc, "--method", method, *smoke)
        made[method] = next(line.split()[1] for line in printed.splitlines() if line.startswith("stored "))
    for outer in OUTER:
        satm("condense", "digits", "--ipc", "1", "--method", "mtt", "--outer", outer, *smoke)
    satm("condense", "digits", "--ipc", "2", "--set", "base=satm", "--method", "mdc", *smoke)
    satm("condense", "digits", "--ipc", "2", "--set", "log_step_size=true", "--set", "precision=float32", *smoke)
    for method in METHODS:
        baseline = ("--baseline", "random") if method == "satm" else ()
        satm("eval", made[method], *baseline, *one)
    satm("eval", "digits/ipc3/mdc@1", "--prefix", "1", *one)
    satm("eval-arch", "digits/ipc1/satm", "digits/ipc1/mtt", "--arch", "convnet4_w16", "--against", "random", *one)
    for protocol in PROTOCOLS:
        satm("eval-cl", "digits/ipc1/satm@1", "--protocol", protocol, "--orders", "2", "--networks", "1", *one)
    satm("eval-cl", "digits/ipc1/datm@1", "--memory", "random", "--budget", "bytes", "--orders", "1", *one)
    for layout in LAYOUTS:
        satm("sets", "export", "digits/ipc1/satm@1", str(folder / "exported" / layout), "--format", layout)
    claims = ("--dataset", "digits", "--preprocessing", "meanstd", "--step-size", "0.02", "--force")
    satm("sets", "import", str(folder / "exported" / "mtt"), "--format", "mtt", *claims)


def configurations() -> dict[str, str]:
    """Hashes of the configurations of every method on CIFAR-10, by "method/profile/ipcN".

    A configuration is the output of `--print-config` without its explanations for people.
    """
    found = {}
    for method in METHODS:
        for profile in ("paper", "cpu", "smoke"):
            for ipc in ("1", "10", "50"):
                asked = ("cifar10", "--ipc", ipc, "--method", method, "--profile", profile)
                printed = json.loads(satm("condense", *asked, "--print-config"))
                kept = {name: printed[name] for name in ("preset", "profile", "config")}
                text = json.dumps(kept, sort_keys=True).encode()
                found[f"{method}/{profile}/ipc{ipc}"] = hashlib.sha256(text).hexdigest()
    return found


def table(db: sqlite3.Connection, sql: str) -> list[list[Any]]:
    """The rows of a query, each as a list."""
    return [list(row) for row in db.execute(sql)]


def record(folder: Path) -> dict[str, Any]:
    """Every value in the registry and the hash of every exported file, by a unique name.

    Times, paths and texts for people are left out.
    """
    db = sqlite3.connect(folder / "satm.db")
    values: dict[str, Any] = {f"config {name}": digest for name, digest in configurations().items()}
    for name, identity, profile, step_size in table(db, "select name, id, profile, step_size from sets"):
        values[f"set {name}"] = [identity, profile, step_size]
    runs = "select s.name, r.kind, r.config, r.id from runs r join sets s on s.id = r.set_id where r.kind = 'condense'"
    for name, kind, config, run in table(db, runs):
        values[f"run {name} {kind}"] = json.loads(config)["condense"]
        for metric, step, value in table(db, f"select name, step, value from metrics where run_id = '{run}'"):
            if metric not in TIMINGS:
                values[f"metric {name} {metric} {step}"] = value
    results = (
        "select s.name, r.protocol, r.architecture, r.memory, c.name, c.id, r.steps, r.repeat, r.step, r.metric, "
        "r.value, r.profile, r.seed, r.step_size, r.detail from results r join sets s on s.id = r.set_id "
        "join recipes c on c.id = r.recipe_id"
    )
    for *key, value, profile, seed, step_size, detail in table(db, results):
        facts = {k: v for k, v in json.loads(detail).items() if k != "seconds"}
        values[f"result {' | '.join(map(str, key))}"] = [value, profile, seed, step_size, facts]
    for path in sorted((folder / "exported").rglob("*")):
        if path.is_file():
            name = path.relative_to(folder / "exported")
            values[f"file {name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    columns = "select m.name, p.name from sqlite_master m join pragma_table_info(m.name) p where m.type = 'table'"
    values["columns"] = sorted(f"{name}.{column}" for name, column in table(db, columns))
    return values


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for every value of `old` that is missing or different in `new`."""
    lost = [f"missing: {name}" for name in old if name not in new]
    changed = [f"changed: {name}: {old[name]} → {new[name]}" for name in old if name in new and old[name] != new[name]]
    return lost + changed


def main() -> None:
    """Make the record, write it to the JSON file, and compare it with the record that `--against` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="The JSON file to write.")
    parser.add_argument("--against", type=Path, help="An earlier record; the new one must contain all its values.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "exported").mkdir()
        os.environ |= {"SATM_HOME": str(folder / "home"), "SATM_REGISTRY": str(folder / "satm.db")}
        run_everything(folder)
        values = record(folder)
    asked.output.write_text(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False))
    print(f"{len(values)} values in {asked.output}")
    if asked.against is not None:
        old = json.loads(asked.against.read_text())
        values = json.loads(asked.output.read_text())
        new = sorted(values.keys() - old.keys())
        print(f"{len(new)} values that {asked.against} does not have", *new[:20], sep="\n  ")
        if problems := compare(old, values):
            sys.exit("\n".join(problems[:50]) + f"\n{len(problems)} of {len(old)} values differ")
        print(f"all {len(old)} values of {asked.against} are the same")


if __name__ == "__main__":
    main()
