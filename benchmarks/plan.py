"""Compares the time and the RAM that `satm plan` predicts with measurements, for jobs with random settings.

    python benchmarks/plan.py [--jobs 6] [--seed 0] [--json FILE]

A job condenses the digits, enlarged to the drawn image size. The method, the width of the network, IPC, the number N of
inner steps, the window, the mini-batch, the engine and the image size are drawn at random. Each job runs enough outer
steps to measure their time. The registry and the experts are in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))


def draw(source: random.Random) -> dict[str, Any]:
    """Draw the settings of one job from `source`."""
    steps = source.randint(8, 40)
    size, width = source.choice((16, 24, 32)), source.choice((16, 24, 48))
    return {
        "method": source.choice(("satm", "mtt")),
        "ipc": source.choice((2, 5, 8, 12)),
        "image_size": size,
        "architecture": f"convnet3_w{width}",
        "inner_steps": steps,
        "window": source.randint(2, steps),
        "batch_syn": source.choice((None, 15, 40)),
        **source.choice(
            (
                {"engine": "higher", "compile": "eager"},
                {"engine": "replay", "compile": "eager"},
                {"engine": "replay", "compile": "compiled"},
            )
        ),
        "experts.count": 1,
        "outer_steps": 12,
        "diagnostics_every": source.choice((0, 4)),
    }


def run(job: dict[str, Any], home: str) -> dict[str, Any]:
    """Plan one job, run it, and read what the run has measured. Each of the three steps is a process of its own.

    Returns the settings with the measured seconds of an outer step, the measured peak RAM, and how far the predictions
    are from them: predicted / measured − 1.
    """
    settings = {name: value for name, value in job.items() if name not in ("method", "ipc")}
    code = f"""
import json, sys, satm
from satm.workflow.condense.plan import plan
preset = satm.choose_preset("digits", ipc={job["ipc"]}, method={job["method"]!r}, profile="cpu", settings={settings!r})
if sys.argv[1] == "run":
    satm.condense(preset, registry={home + "/satm.db"!r})
else:
    found = plan(preset, registry={home + "/satm.db"!r})
    print(json.dumps([found.step_seconds, found.peak_bytes, [[m.step_seconds, m.peak_bytes] for m in found.measured]]))
"""
    environment = {**os.environ, "SATM_HOME": home}

    def call(what: str) -> str:
        command = [sys.executable, "-c", code, what]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout

    predicted = json.loads(call("plan"))
    call("run")
    ((seconds, peak),) = json.loads(call("plan"))[2]
    return {
        **job,
        "seconds": seconds,
        "seconds_off": predicted[0] / seconds - 1,
        "peak_mb": peak / 1e6,
        "memory_off": predicted[1] / peak - 1,
    }


def main() -> None:
    """Run the jobs, print one line for each job, and write the JSON file that `--json` names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    source, rows = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory() as home:
        for _ in range(asked.jobs):
            row = run(draw(source), home)
            rows.append(row)
            print(
                f"{row['method']} ipc {row['ipc']} {row['architecture']} {row['image_size']}px N {row['inner_steps']} "
                f"window {row['window']} batch {row['batch_syn']} {row['engine']} compile={row['compile']}: "
                f"{row['seconds']:.3f} s, predicted {100 * row['seconds_off']:+.0f}%; "
                f"{row['peak_mb']:.0f} MB, predicted {100 * row['memory_off']:+.0f}%",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
