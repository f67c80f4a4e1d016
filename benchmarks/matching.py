"""Images per second of our gradient matching (DC) and distribution matching (DM), and of a plain loop over the classes.

    python benchmarks/matching.py [--ipc 1 --ipc 10] [--batch 64] [--width 32] [--json FILE]

Our code is compiled and computes several small classes at a time. The plain loop is uncompiled and computes one class
after another. Both do the same arithmetic on the same real images, and the program checks that their gradients are
equal up to rounding. The images of one step are the real images of all classes and all synthetic images.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from satm import networks
from satm.data import ImageData, Split
from satm.matching import gradient_distance
from satm.methods import Task
from satm.methods.dc import DC, DCConfig
from satm.methods.dm import DistributionMatching, DMConfig
from satm.preprocessing import MeanStd
from satm.rng import Seed
from satm.types import Images

CLASSES = 10
NORMALISED = MeanStd((0.5,) * 3, (0.25,) * 3)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str  # "gradient matching" or "distribution matching"
    ipc: int
    mode: str  # "eager loop" (the plain loop) or "batched, compiled" (our code)
    seconds: float  # the time of the fastest step
    images_per_second: float
    speedup: float  # the time of the plain loop divided by the time of this mode
    first_seconds: float  # the time of the first step, which includes the compilation


def noise_data(per_class: int) -> ImageData:
    """Noise images of 32×32 pixels in ten classes. The time does not depend on the content of the images."""

    def split(name: str, count: int) -> Split:
        labels = torch.arange(CLASSES).repeat(count)
        pixels = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=Seed(0).child(name).generator())
        return Split(images=pixels.to(torch.uint8), labels=labels, preprocessing=NORMALISED)

    return ImageData(
        name="noise",
        classes=tuple(map(str, range(CLASSES))),
        train=split("train", per_class),
        validation=split("validation", 1),
        test=split("test", 1),
        preprocessing=NORMALISED,
        fingerprint=f"noise/{per_class}",
        root=None,
    )


def gradient_loop(network: nn.Module, synthetic: Images, real: Images) -> Images:
    """The gradient [K, n, C, H, W] of DC's loss for the synthetic images, computed one class after another.

    Args:
        synthetic: [K, n, C, H, W], the n synthetic images of each of the K classes.
        real: [K, b, C, H, W], the b real images of each class.
    """
    leaf, parameters = synthetic.clone().requires_grad_(), list(network.parameters())
    total = torch.zeros(())
    for label in range(CLASSES):
        target = torch.full((len(real[label]),), label)
        wanted = torch.autograd.grad(functional.cross_entropy(network(real[label]), target), parameters)
        loss = functional.cross_entropy(network(leaf[label]), torch.full((len(leaf[label]),), label))
        total = total + gradient_distance(torch.autograd.grad(loss, parameters, create_graph=True), wanted)
    return torch.autograd.grad(total, leaf)[0]


def distribution_loop(network: nn.Module, synthetic: Images, real: Images) -> Images:
    """The gradient [K, n, C, H, W] of DM's loss for the synthetic images, computed one class after another.

    The arguments are those of `gradient_loop`. DM needs no gradient of the network's parameters.
    """
    leaf, embed = synthetic.clone().requires_grad_(), networks.features(network).requires_grad_(False)
    total = torch.zeros(())
    for label in range(CLASSES):
        wanted = embed(real[label]).detach().mean(dim=0)
        total = total + (embed(leaf[label]).mean(dim=0) - wanted).square().sum()
    return torch.autograd.grad(total, leaf)[0]


def timed(step: Callable[[], Images], seconds: float) -> tuple[float, float, Images]:
    """Run `step` once, and then again until `seconds` have passed, at least three times.

    Returns the seconds of the first call, the seconds of the fastest later call, and the gradient of the last call.
    """
    started = time.perf_counter()
    result = step()
    first = time.perf_counter() - started
    best, started, count = float("inf"), time.perf_counter(), 0
    while count < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        result = step()
        best, count = min(best, time.perf_counter() - before), count + 1
    return first, best, result


def measure(ipc: int, batch: int, width: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Measure both kinds of matching at one IPC, and return the rows of the table.

    `batch` is the number of real images per class, `width` the width of the ConvNet, `seconds` the time for each row.
    """
    task = Task(
        data=noise_data(max(batch, ipc)),
        ipc=ipc,
        architecture=networks.convnet_name(3, width),
        seed=Seed(0),
        device=torch.device("cpu"),
        notify=say,
    )
    dc = DCConfig(networks=1, updates=1, inner_epochs=0, batch_real=batch, init="real", compile="compiled")
    gradients = DC(task, dc)
    embeddings = DistributionMatching(task, DMConfig(batch_real=batch, compile="compiled"))
    synthetic = gradients.by_class(gradients.images)
    real = gradients.real.draw(Seed(1).generator())
    network = gradients.network
    theta = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    body = torch.cat([p.detach().reshape(-1) for p in networks.features(network).parameters()])
    cases: dict[str, dict[str, Callable[[], Images]]] = {
        "gradient matching": {
            "eager loop": lambda: gradient_loop(network, synthetic, real),
            "batched, compiled": lambda: gradients.class_gradients(theta, synthetic, real)[0],
        },
        "distribution matching": {
            "eager loop": lambda: distribution_loop(network, synthetic, real),
            "batched, compiled": lambda: embeddings.matched(body, synthetic, real)[0],
        },
    }
    rows = []
    images = CLASSES * (real.shape[1] + ipc)
    for what, modes in cases.items():
        reference, loop = None, 0.0
        for mode, step in modes.items():
            first, best, found = timed(step, seconds)
            if reference is None:
                reference, loop = found, best
            torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))
            rows.append(Row(what, ipc, mode, best, images / best, loop / best, first))
            say(f"{what:22} IPC {ipc:<3} {mode:18} {best:7.3f} s a step")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON file that `--json` names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--ipc", type=int, action="append", help="images per class (default: 1 and 10); may be repeated"
    )
    parser.add_argument(
        "--batch", type=int, default=64, help="real images per class (default: 64, as in the cpu profile)"
    )
    parser.add_argument(
        "--width", type=int, default=32, help="channels of the ConvNet (default: 32, as in the cpu profile)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each row (default: 5)")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    rows = []
    for ipc in options.ipc or [1, 10]:
        rows += measure(ipc, options.batch, options.width, options.seconds, print)
    print(f"\n{'what':22} {'IPC':>4} {'mode':18} {'s/step':>8} {'images/s':>9} {'speed-up':>9} {'first step':>11}")
    for row in rows:
        print(
            f"{row.what:22} {row.ipc:>4} {row.mode:18} {row.seconds:8.3f} {row.images_per_second:9.0f} "
            f"{row.speedup:8.2f}× {row.first_seconds:9.1f} s"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
