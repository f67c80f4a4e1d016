"""Seconds and peak RAM of a whole job by MTT's definition in plain torch, and by `satm condense` and `satm eval`.

    SATM_DATA=… python benchmarks/jobs.py cifar10 [--outer-steps 200] [--repeats 3] [--json FILE]

The job: 4 experts of 3 epochs, then outer steps at IPC 1 and width 32 with DSA (N = 50, two epochs of an expert), then
5 networks of 300 epochs on the set, tested on all test images. Every job runs in a process of its own with an empty
SATM_HOME, so that it reads the images, fits the whitening and compiles anew. In each round, the jobs run one after
another, so a drift of the machine affects all alike. A ratio is the median over the rounds of seconds or peak to those
of `plain` in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

EXPERTS, EXPERT_EPOCHS, NETWORKS, EPOCHS = 4, 3, 5, 300
STEPS, SEGMENT = 50, 2  # N, and the epochs of an expert that a segment spans
ARCHITECTURE = "convnet3_w32"


def plain(dataset: str, outer_steps: int) -> None:
    """The job in plain uncompiled torch: experts, MTT's outer steps with DSA, networks. Prints the mean accuracy."""
    import torch

    from benchmarks.baselines import Problem, mtt
    from satm import networks
    from satm.augment import DSA
    from satm.data import load
    from satm.engine import flatten
    from satm.rng import Seed

    data = load(dataset, zca=True, validation=0.1)
    dsa = DSA()

    def create(seed: int) -> torch.nn.Module:
        shape, classes = data.image_shape, data.num_classes
        return networks.create(ARCHITECTURE, num_classes=classes, image_shape=shape, seed=Seed(seed))

    def train(network: torch.nn.Module, images: Any, optimizer: torch.optim.Optimizer, seed: int) -> None:
        """One epoch at batch 256 with DSA. `images` has `batch`."""
        generator = Seed(seed).generator()
        for index in torch.randperm(len(images), generator=generator).split(256):
            batch, labels = images.batch(index)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(dsa(batch, generator)), labels).backward()
            optimizer.step()

    trajectories = []
    for expert in range(EXPERTS):
        network = create(expert)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        snapshots = [flatten(network.parameters()).detach().clone()]
        for epoch in range(EXPERT_EPOCHS):
            train(network, data.train, optimizer, 100 * expert + epoch)
            snapshots.append(flatten(network.parameters()).detach().clone())
        trajectories.append(snapshots)

    generator = Seed(0).generator()
    chosen = torch.tensor([int((data.train.labels == label).nonzero()[0]) for label in range(data.num_classes)])
    images, labels = data.train.batch(chosen)
    images, network = images.clone().requires_grad_(), create(0)
    optimizer = torch.optim.SGD([images], lr=300.0, momentum=0.5)
    for _ in range(outer_steps):
        start, expert = (int(torch.randint(n, (), generator=generator)) for n in (EXPERT_EPOCHS - SEGMENT + 1, EXPERTS))
        seen = dsa(
            images, generator
        )  # one draw for the loop: MTT's own code draws at each inner step, at the same cost
        problem = Problem(
            network=network,
            images=seen,
            labels=labels,
            step_size=torch.tensor(0.01),
            start=trajectories[expert][start],
            target=trajectories[expert][start + SEGMENT],
            steps=STEPS,
            window=STEPS,
        )
        (images.grad,) = torch.autograd.grad(seen, images, mtt(problem))
        optimizer.step()

    learned = type("Set", (), {"batch": lambda self, index: (images.detach()[index], labels[index])})()
    type(learned).__len__ = lambda self: len(labels)
    right = []
    for seed in range(NETWORKS):
        network = create(1000 + seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for epoch in range(EPOCHS):
            if epoch == 151:
                optimizer.param_groups[0]["lr"] = 0.001
            train(network, learned, optimizer, 1000 * seed + epoch)
        with torch.no_grad():
            tested = [data.test.batch(index) for index in torch.arange(len(data.test)).split(512)]
            right.append(sum(int((network(x).argmax(1) == y).sum()) for x, y in tested) / len(data.test))
    print(f"accuracy {statistics.fmean(right):.4f}")


def satm_commands(dataset: str, method: str, outer_steps: int) -> list[list[str]]:
    """The same job by the commands that a user types."""
    settings = {
        "experts.count": EXPERTS,
        "outer_steps": outer_steps,
        "inner_steps": STEPS,
        "expert_epochs": SEGMENT,
        "max_start_epoch": EXPERT_EPOCHS - SEGMENT + 1,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return [
        ["condense", dataset, "--ipc", "1", "--profile", "cpu", "--method", method, *words],
        ["eval", "latest", "--repeats", str(NETWORKS), "--recipe", "cpu", "--learning-rate", "0.01"],
    ]


def timed(commands: list[list[str]], folder: str) -> tuple[float, float]:
    """Wall seconds of the commands, one after another, and the largest peak of RAM of one of them in bytes."""
    environment = {**os.environ, "SATM_HOME": folder, "PYTHONPATH": str(Path(__file__).parent.parent)}
    started, peak = time.perf_counter(), 0.0
    for command in commands:
        process = subprocess.Popen(command, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"ended with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
        peak = max(peak, usage.ru_maxrss * 1024.0)
    return time.perf_counter() - started, peak


def main() -> None:
    """Run the rounds, print a line for each job, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--outer-steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plain", action="store_true", help="run the plain job in this process, and nothing else")
    arguments = parser.parse_args()
    if arguments.plain:
        plain(arguments.dataset, arguments.outer_steps)
        return
    here, dataset, steps = str(Path(__file__).resolve()), arguments.dataset, arguments.outer_steps
    program = [sys.executable, "-c", "import sys; from satm.cli import run; sys.exit(run(sys.argv[1:]))"]
    jobs = {"plain": [[sys.executable, here, dataset, "--outer-steps", str(steps), "--plain"]]} | {
        method: [[*program, *words] for words in satm_commands(dataset, method, steps)] for method in ("mtt", "satm")
    }
    rows: list[dict[str, Any]] = []
    for turn in range(arguments.repeats):
        for job, commands in jobs.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds, peak = timed(commands, folder)
            rows.append({"job": job, "round": turn, "seconds": seconds, "peak": peak})
            print(f"{job}: {seconds:.0f} s, {peak / 1e6:,.0f} MB", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    for job in jobs:
        for name in ("seconds", "peak"):
            own, base = ([row[name] for row in rows if row["job"] == each] for each in (job, "plain"))
            ratio = statistics.median(a / b for a, b in zip(own, base, strict=True))
            print(f"{job:6} {name:8} {statistics.median(own):,.0f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
