"""Measures what SATM's perturbation of the images changes, for several lengths and seeds (docs/fidelity.md).

    SATM_DATA=… python benchmarks/radius.py cifar10 --ipc 1 --steps 400 --experts 1,4 --seeds 0,1,2 --into CELLS

The radius r is the length of the perturbation ε of the images φ, relative to ‖φ‖. γ is the strength of the smoothing
noise. The study compares arms, which differ in r and γ; the arm `mtt` has neither. For each arm it measures the test
accuracy, the matching loss at the end, and the rise of the loss that the perturbation causes.

A cell is one condensation and the networks that are trained on its set. Each finished cell is a file in the folder
CELLS, so the command can be stopped and started again. Processes with different seeds can share the folder. One seed is
used for the condensation, its experts and the networks. With `--split validation`, the networks are tested on the
validation split. Use it to choose a default radius. `--table` prints the finished cells.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import evaluation
import satm
from evaluation import RECIPES
from registry import Registry, SetRecord
from satm.cli._session import working
from satm.errors import Interrupted, SatmError
from satm.machine.device import resolve_device
from satm.methods.outer import SATM
from satm.progress import Progress
from satm.rng import Seed
from satm.workflow.evaluate.prepared import load_prepared

LAST = 50  # the number of outer steps at the end over which the matching loss is averaged
ZERO = {"outer.radius": 0.0, "outer.gamma": 0.0}
DEFAULT = SATM()
assert DEFAULT.radius is not None
# The settings of each arm. "r = 0" has neither a perturbation nor smoothing noise.
ARMS: Mapping[str, Mapping[str, Any]] = {
    "r = 0": ZERO,
    "default": {},
    "3 × default": {"outer.radius": 3 * DEFAULT.radius},
    "γ alone": {"outer.radius": 0.0},
    "r alone": {"outer.gamma": 0.0},
}
BY_DEFAULT = ("default", "3 × default", "r alone")  # the arms with a radius that depends on SATM's default radius


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The settings of one condensation of the study, and of its evaluation."""

    dataset: str
    ipc: int
    steps: int  # the number of outer steps
    experts: int  # the number of experts
    seed: int
    arm: str  # a name from `ARMS`, "mtt", or "r=NUMBER" for SATM with radius NUMBER and the default γ
    profile: str
    split: str  # the images to test on: "test" or "validation"

    @property
    def path(self) -> str:
        """The name of the cell's file. If the arm depends on the default radius, the name contains this radius."""
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
    """Condense a set, train networks on it and test them. Returns the numbers of the cell, which its file stores.

    Args:
        networks: the number of networks of each architecture.
        archs: the architectures to test on besides the set's own.

    `loss` is the mean matching loss of the last outer steps. `rise` is the median of (F(φ + ε) − F(φ)) / F(φ) over all
    outer steps, where F is the matching loss of the images φ and ε is their perturbation. `rise_100` is the median of
    the 51st to the 150th value only. Both are None if there are no such values, as for the arm `mtt`.
    """
    made = satm.condense(cell.preset(), seed=cell.seed, device=device, registry=registry, progress=progress).record
    with Registry.open(registry) as store:
        assert made.run_id is not None
        metrics = store.metrics(made.run_id)
    judge = _stored if cell.split == "test" else _on_validation
    accuracy = judge(made, cell, networks, archs, registry, device, progress)
    series = {name: [row.value for row in metrics if row.name == name] for name in ("loss", "relative_rise")}
    rises = series["relative_rise"]
    return {
        **asdict(cell),
        "device": str(resolve_device(device)),
        "set": made.name,
        "accuracy": accuracy,
        "loss": statistics.fmean(series["loss"][-LAST:]),
        "rise": statistics.median(rises) if rises else None,
        "rise_100": statistics.median(rises[50:150]) if len(rises) > 50 else None,
    }


def _stored(
    made: SetRecord, cell: Cell, networks: int, archs: list[str], registry: Path, device: str, progress: Progress
) -> dict[str, list[float]]:
    """The test accuracies by architecture, which `satm eval` and `satm eval-arch` store in the registry.

    All sets are judged by networks with the same initial weights.
    """
    for names in (None, archs) if archs else (None,):
        satm.evaluate(
            made.name, architectures=names, repeats=networks, device=device, registry=registry, progress=progress
        )
    with Registry.open(registry) as store:
        rows = store.results(set=made.id, profile=cell.profile, memory="condensed", metric="accuracy")
    # In-domain results come first, as for the validation split.
    rows.sort(key=lambda row: row.protocol != "in-domain")
    return _by_architecture((row.architecture, row.value) for row in rows)


def _on_validation(
    made: SetRecord, cell: Cell, networks: int, archs: list[str], registry: Path, device: str, progress: Progress
) -> dict[str, list[float]]:
    """The accuracies on the validation split by architecture. They are not stored in the registry."""
    with Registry.open(registry) as store:
        synthetic = store.load(made.id)
    data = load_prepared(synthetic, data_root=None)
    preset = cell.preset()
    results = evaluation.evaluate(
        synthetic,
        replace(data, test=data.validation),
        [preset.config.architecture, *archs],
        RECIPES.get(preset.config.recipe),
        seed=Seed(cell.seed),
        repeats=networks,
        trainer=evaluation.Trainer(device=resolve_device(device)),
    )
    return _by_architecture((each.architecture, each.accuracy) for each in results)


def _by_architecture(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for architecture, accuracy in pairs:
        found.setdefault(architecture, []).append(accuracy)
    return found


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All cells of the study. For each number of experts, the cells of one seed come before those of the next seed.

    So a study that is stopped early has finished all arms of the first seeds.
    """
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
    """The table in Markdown: one line for each number of experts and arm.

    An accuracy is the mean over the seeds in percent. The mean of each seed follows in brackets.
    """
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
    """Run the cells that have no file yet, and print the table of the finished cells. Returns the exit code."""
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
