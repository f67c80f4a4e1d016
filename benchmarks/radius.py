"""Does the perturbation of SATM do anything? Accuracy and fit by its length, over several seeds (docs/fidelity.md).

    SATM_DATA=… python benchmarks/radius.py cifar10 --ipc 1 --steps 400 --experts 1,4 --seeds 0,1,2 --into CELLS

A cell is one condensation and the networks trained on it. Each finished cell is a file in CELLS, so the command can be
stopped and started again. Processes with different seeds can share the folder. The seed is that of the condensation, of
its experts and of the networks. `--split validation` tests on the validation split, to choose a default.
`--table` prints the finished cells.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import evaluation
import satm
from evaluation import RECIPES
from registry import Registry
from satm.cli._session import working
from satm.errors import Interrupted, SatmError
from satm.machine.device import resolve_device
from satm.methods.outer import SATM
from satm.progress import Progress
from satm.rng import Seed
from satm.workflow.evaluate.prepared import load_prepared

LAST = 50  # outer steps at the end over which the fit is averaged
ZERO = {"outer.radius": 0.0, "outer.gamma": 0.0}
DEFAULT = SATM()
assert DEFAULT.radius is not None
ARMS: Mapping[str, Mapping[str, Any]] = {
    "r = 0": ZERO,
    "default": {},
    "3 × default": {"outer.radius": 3 * DEFAULT.radius},
    "γ alone": {"outer.radius": 0.0},
    "r alone": {"outer.gamma": 0.0},
}
BY_DEFAULT = ("default", "3 × default", "r alone")  # the arms whose radius comes from the default


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One condensation of the study."""

    dataset: str
    ipc: int
    steps: int
    experts: int
    seed: int
    arm: str  # of `ARMS`, `mtt`, or `r=NUMBER` for SATM with that radius
    profile: str
    split: str

    @property
    def path(self) -> str:
        """The name of the cell's file. It has the default radius if the arm depends on it."""
        arm = self.arm.replace(" ", "") + (f"@{DEFAULT.radius:g}" if self.arm in BY_DEFAULT else "")
        return f"{self.dataset}-ipc{self.ipc}-{self.steps}-e{self.experts}-s{self.seed}-{arm}-{self.split}.json"

    def preset(self) -> satm.Preset:
        """The preset of the condensation."""
        own = {"outer.radius": float(self.arm[2:])} if self.arm.startswith("r=") else dict(ARMS.get(self.arm, {}))
        counts = {"outer_steps": self.steps, "experts.count": self.experts, "experts.seed": self.seed}
        method = "mtt" if self.arm == "mtt" else "satm"
        return satm.choose_preset(
            self.dataset, ipc=self.ipc, method=method, profile=self.profile, settings={**counts, **own}
        )


def measure(
    cell: Cell, networks: int, archs: list[str], registry: Path, device: str, progress: Progress
) -> dict[str, Any]:
    """Condense, train the networks and test them on the cell's split."""
    made = satm.condense(cell.preset(), seed=cell.seed, device=device, registry=registry, progress=progress).record
    with Registry.open(registry) as store:
        synthetic = store.load(made.id)
        assert made.run_id is not None
        metrics = store.metrics(made.run_id)
    data = load_prepared(synthetic, data_root=None)
    if cell.split == "validation":
        data = replace(data, test=data.validation)
    preset = cell.preset()
    names = [preset.config.architecture, *archs]
    results = evaluation.evaluate(
        synthetic,
        data,
        names,
        RECIPES.get(preset.config.recipe),
        seed=Seed(cell.seed),
        repeats=networks,
        trainer=evaluation.Trainer(device=resolve_device(device)),
    )
    series = {name: [row.value for row in metrics if row.name == name] for name in ("loss", "relative_rise")}
    rises = series["relative_rise"]
    return {
        **asdict(cell),
        "device": str(resolve_device(device)),
        "set": made.name,
        "accuracy": {n: [each.accuracy for each in results if each.architecture == n] for n in names},
        "loss": statistics.fmean(series["loss"][-LAST:]),
        "rise": statistics.median(rises) if rises else None,
        "rise_100": statistics.median(rises[50:150]) if len(rises) > 50 else None,
    }


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """Every cell, seeds outermost, so that a study that is cut short has whole seeds."""
    for experts in options.experts.split(","):
        for seed in options.seeds.split(","):
            for arm in options.arms.split(","):
                yield Cell(
                    dataset=options.dataset,
                    ipc=options.ipc,
                    steps=options.steps,
                    experts=int(experts),
                    seed=int(seed),
                    arm=arm,
                    profile=options.profile,
                    split=options.split,
                )


def table(folder: Path, wanted: list[Cell]) -> Iterator[str]:
    """Markdown: a line for each arm and number of experts, with the mean of every seed."""
    found = [json.loads((folder / cell.path).read_text()) for cell in wanted if (folder / cell.path).exists()]
    if not found:
        return
    names = list(found[0]["accuracy"])
    yield "| experts | arm | seeds | " + " | ".join(names) + " | loss | rise |"
    yield "|" + "---|" * (5 + len(names))
    for experts, arm in dict.fromkeys((cell.experts, cell.arm) for cell in wanted):
        group = [each for each in found if (each["experts"], each["arm"]) == (experts, arm)]
        if not group:
            continue
        columns = []
        for name in names:
            means = [100 * statistics.fmean(each["accuracy"][name]) for each in group]
            columns.append(f"{statistics.fmean(means):.1f} ({', '.join(f'{mean:.1f}' for mean in means)})")
        loss = statistics.fmean(each["loss"] for each in group)
        rises = [each["rise"] for each in group if each["rise"] is not None]
        rise = f"{statistics.fmean(rises):.2%}" if rises else "–"
        yield f"| {experts} | {arm} | {len(group)} | {' | '.join(columns)} | {loss:.3f} | {rise} |"


def main() -> int:
    """Run the cells that are missing, or print the table of those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--steps", type=int, required=True, help="outer steps")
    parser.add_argument("--experts", default="1")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default=",".join(["mtt", *ARMS]))
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--arch", action="append", default=[], help="also test on this architecture; repeatable")
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--registry", type=Path, default=Path("radius.db"))
    parser.add_argument("--into", type=Path, required=True, help="folder of the finished cells")
    parser.add_argument("--device", default="auto", help="as that of `satm condense`")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    wanted = list(cells(options))
    if options.table:
        print("\n".join(table(options.into, wanted)))
        return 0
    try:
        with working(options.threads) as progress:
            for cell in wanted:
                path = options.into / cell.path
                if path.exists():
                    continue
                progress.say(f"cell {cell.path}")
                found = measure(cell, options.networks, options.arch, options.registry, options.device, progress)
                path.write_text(json.dumps(found, indent=1))
    except (Interrupted, SatmError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(options.into, wanted)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
