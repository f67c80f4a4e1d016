"""Seconds and peak RAM of one whole job in two ways: MTT in plain torch, and `satm condense` followed by `satm eval`.

    SATM_DATA=… python benchmarks/jobs.py cifar10 [--outer-steps 200] [--repeats 3] [--json FILE]

A whole job has three parts. First, 4 experts are trained for 3 epochs. Then a set with IPC 1 is condensed on a ConvNet
of width 32 with the augmentation DSA. Each inner loop has N = 50 steps and matches two epochs of an expert. Last, 5
networks are trained on the set for 300 epochs and tested on all test images.

There are three jobs: `plain` is MTT in plain torch, `mtt` and `satm` are the commands with these methods. Each job
starts with an empty SATM_HOME, so it has to read the images, fit the whitening (ZCA) and compile the code. In each
round, the jobs run one after another, so a change of the machine's speed affects all jobs alike. A ratio is a job's
seconds or peak RAM divided by that of `plain` in the same round. The median over the rounds is printed.
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
STEPS, SEGMENT = 50, 2  # N, and the number of an expert's epochs that one outer step matches
ARCHITECTURE = "convnet3_w32"


def plain(dataset: str, outer_steps: int) -> None:
    """Run the job in plain uncompiled torch with MTT's outer steps, and print the mean accuracy of the networks."""
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
        """Train for one epoch with DSA and batches of 256. `images` is a split of the data or the learned set below."""
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
        )  # one draw for the whole inner loop; MTT's own code draws at each inner step, which takes the same time
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
    """The same job as two `satm` commands, each a list of words: condense a set by `method`, then evaluate it."""
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
    """Run the commands one after another in `folder`. Returns the wall-clock seconds of all, and the largest peak RAM.

    The peak is the largest of the commands' own peaks, in bytes.
    """
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
    """Run the rounds, print a line for each job, and write the JSON file that `--json` names."""
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
