"""Measures the time of our compiled training and evaluation, and that of a plain uncompiled loop.

    python benchmarks/training.py [--case ipc1] [--json FILE]

The case `experts` is one epoch of an expert's training. The cases `ipc1` and `ipc10` evaluate sets with 1 and 10 images
per class. One process runs our code and the plain loop in turn, so a change of the machine's speed affects both alike.
The images are noise of CIFAR-10's shape, because the time does not depend on the content. The time of the compilation
is not included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from satm import networks
from satm.augment import DSA
from satm.machine.fused import Fused
from satm.rng import Seed
from satm.training import SGDConfig, accuracy, fit

SHAPE, CLASSES, ARCHITECTURE = (3, 32, 32), 10, "convnet3_w32"
EXPERT = SGDConfig(epochs=1, lr=0.01, batch_size=256)
# The numbers of the evaluation recipe `cpu` (evaluation/recipes.py).
RECIPE = SGDConfig(epochs=300, lr=0.01, batch_size=256, momentum=0.9, weight_decay=5e-4, milestones=(151,))


class Noise:
    """`n` images of noise with random classes."""

    def __init__(self, n: int) -> None:
        generator = Seed(n).generator()
        self.images = torch.randn(n, *SHAPE, generator=generator)
        self.labels = torch.randint(CLASSES, (n,), generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The images and labels at `index`."""
        return self.images[index], self.labels[index]


def create() -> nn.Module:
    """The network that both our code and the plain loop train, always with the same initial weights."""
    return networks.create(ARCHITECTURE, num_classes=CLASSES, image_shape=SHAPE, seed=Seed(0))


def plain(train: Noise, config: SGDConfig, test: Noise | None) -> None:
    """Train a network with a usual PyTorch loop and DSA, then predict the classes of `test` if it is not None."""
    network, generator, augment = create().train(), Seed(1).generator(), DSA()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    for epoch in range(config.epochs):
        optimizer.param_groups[0]["lr"] = config.lr_at(epoch)
        for index in torch.randperm(len(train), generator=generator).split(config.batch_size):
            images, labels = train.batch(index)
            loss = F.cross_entropy(network(augment(images, generator)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if test is not None:
        network.eval()
        with torch.no_grad():
            for index in torch.arange(len(test)).split(512):
                network(test.batch(index)[0]).argmax(1)


def ours(train: Noise, config: SGDConfig, test: Noise | None, fused: Fused) -> None:
    """Do the same as `plain` with our functions, as the training of experts and evaluations use them."""
    network = create()
    fit(network, train, config, seed=Seed(1), augment=DSA(), fused=fused)
    if test is not None:
        accuracy(network, test, fused=fused)


def main() -> None:
    """Measure the chosen cases, print the table, and write the JSON file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=["experts", "ipc1", "ipc10"])
    parser.add_argument("--images", type=int, default=45_000, help="images in an epoch of the experts")
    parser.add_argument("--repeats", type=int, default=5, help="networks of an evaluation")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fused = Fused(create(), image_shape=SHAPE, notify=print)
    cases: dict[str, tuple[str, int, Noise, SGDConfig, Noise | None]] = {
        "experts": ("one epoch, batch 256, DSA", 1, Noise(arguments.images), EXPERT, None),
        "ipc1": (f"{arguments.repeats} repeats, 10 images", arguments.repeats, Noise(10), RECIPE, Noise(10_000)),
        "ipc10": (f"{arguments.repeats} repeats, 100 images", arguments.repeats, Noise(100), RECIPE, Noise(10_000)),
    }
    rows = []
    for case in arguments.case or cases:
        what, repeats, train, config, test = cases[case]
        # Compile the code for both batch sizes of an epoch, the full batch and the last one, before the clock starts.
        for size in (min(len(train), 256), len(train) % 256 or 256):
            ours(Noise(size), SGDConfig(epochs=1, lr=0.01, batch_size=256), test and Noise(512), fused)
        runs: dict[str, Callable[[], None]] = {
            "eager": lambda t=train, c=config, j=test: plain(t, c, j),  # type: ignore[misc]
            "compiled": lambda t=train, c=config, j=test: ours(t, c, j, fused),  # type: ignore[misc]
        }
        seconds = dict.fromkeys(runs, 0.0)
        for _ in range(repeats):
            for mode, run in runs.items():
                start = time.perf_counter()
                run()
                seconds[mode] += time.perf_counter() - start
        for mode, took in seconds.items():
            row = {"case": case, "what": what, "mode": mode, "seconds": took, "ratio": took / seconds["eager"]}
            rows.append(row)
            print(f"{case:8} {what:28} {mode:9} {took:8.2f} s   ratio {row['ratio']:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
