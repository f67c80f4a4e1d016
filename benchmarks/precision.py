"""The effect of bf16 on hypergradients, by window, and on accuracy, with real images and real experts.

    SATM_DATA=… python benchmarks/precision.py gradients [--dataset cifar10] [--ipc 1] [--segments 3] [--json FILE]
    SATM_DATA=… python benchmarks/precision.py accuracy [--seeds 3] [--registry FILE] [--json FILE]

`gradients` measures how far float32 and bf16 hypergradients are from the float64 one. `accuracy` condenses sets in
float32, in bf16 with as many outer steps, and in bf16 with twice as many. Twice as many take the same time if bf16
halves the time of a step. `accuracy` can be stopped and started again. Experts are those of the `cpu` profile; missing
ones are trained first. On a CPU without bfloat16 instructions float32 kernels imitate them (`Float32Kernels`), because
this measures precision, not speed. Everything runs uncompiled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

sys.path.insert(0, str(Path(__file__).parent.parent))

import satm
from registry import Registry
from satm import networks
from satm.engine import InnerLoop, LastSteps, OuterVariables, Precision, ReplayPolicy, make_step
from satm.experts import draw_segment
from satm.machine.precision import missing_bf16
from satm.matching import TrajectoryLoss
from satm.methods import class_major_labels, random_images
from satm.rng import Seed
from satm.statistics import paired_interval
from satm.workflow.condense.inputs import load_data, prepare_experts

PRECISIONS: tuple[tuple[str, torch.dtype, Precision], ...] = (
    ("float64", torch.float64, "float32"),
    ("float32", torch.float32, "float32"),
    ("bf16", torch.float32, "bf16"),
)


class Float32Kernels(TorchDispatchMode):
    """Runs bfloat16 convolutions and products on float32 kernels: same operands, summed in float32, rounded once.

    bfloat16 units do the same, except for the order of the sums.
    """

    SLOW = (
        torch.ops.aten.convolution.default,
        torch.ops.aten.convolution_backward.default,
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
    )

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation of torch."""
        given = (args, kwargs or {})
        if func not in self.SLOW or not any(_is(torch.bfloat16, leaf) for leaf in tree_flatten(given)[0]):
            return func(*args, **kwargs or {})
        wide, named = tree_map(lambda x: x.float() if _is(torch.bfloat16, x) else x, given)
        return tree_map(lambda x: x.bfloat16() if _is(torch.float32, x) else x, func(*wide, **named))


def _is(dtype: torch.dtype, leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dtype is dtype


@contextmanager
def bf16_lent() -> Iterator[None]:
    """A block in which every machine has bf16: if it is missing, by `Float32Kernels` and without the engine's check."""
    lacking = missing_bf16()
    if lacking is None:
        yield
        return
    print(f"{lacking}: float32 kernels, rounded", file=sys.stderr)
    with Float32Kernels(), patch("satm.engine.choice.missing_bf16", return_value=None):
        yield


def gradients(dataset: str, ipc: int, segments: int) -> list[dict[str, Any]]:
    """One row for each precision and window: means over the segments."""
    config = satm.choose_preset(dataset, ipc=ipc, profile="cpu").config
    data = load_data(config, data_root=None)
    experts = prepare_experts(config, data, device="cpu")
    settings, steps = config.settings, config.settings.inner_steps
    rows = []
    for window in sorted({1, 4, max(1, steps // 3), steps}):
        cosines: dict[str, list[float]] = {name: [] for name, _, _ in PRECISIONS}
        errors: dict[str, list[float]] = {name: [] for name, _, _ in PRECISIONS}
        for index in range(segments):
            seed = Seed(index)
            segment = draw_segment(
                experts, epochs=settings.expert_epochs, starts=settings.starts(), generator=seed.generator()
            )
            images = random_images(data, ipc, seed)
            labels = class_major_labels(len(data.classes), ipc)
            answer = None
            for name, dtype, precision in PRECISIONS:
                network = networks.create(
                    config.architecture, num_classes=len(data.classes), image_shape=data.image_shape, seed=seed
                ).to(dtype)
                segment = replace(segment, start=segment.start.to(dtype), target=segment.target.to(dtype))
                found = ReplayPolicy(make_step(network, precision=precision))(
                    InnerLoop(network=network, batches=(None,) * steps, transforms=(torch.nn.Identity(),) * steps),
                    OuterVariables(images.to(dtype), labels, torch.tensor(settings.step_size, dtype=dtype)),
                    segment.start,
                    TrajectoryLoss(segment.start, segment.target),
                    LastSteps(window),
                ).images.double()
                answer = found if answer is None else answer
                cosines[name].append(float((found * answer).sum() / found.norm() / answer.norm()))
                errors[name].append(float((found - answer).norm() / answer.norm()))
        for name, _, _ in PRECISIONS[1:]:
            rows.append(
                {
                    "precision": name,
                    "steps": steps,
                    "window": window,
                    "cosine": statistics.mean(cosines[name]),
                    "cosine_worst": min(cosines[name]),
                    "relative_error": statistics.mean(errors[name]),
                    "n": segments,
                }
            )
            print(
                "{precision:8} window {window:3} of {steps}: cosine {cosine:.5f} (worst {cosine_worst:.5f}), "
                "relative error {relative_error:.2%}, n = {n}".format(**rows[-1]),
                flush=True,
            )
    return rows


def accuracy(
    dataset: str, ipc: int, seeds: int, repeats: int, registry: Path, steps: int | None = None
) -> list[dict[str, Any]]:
    """One row each for float32, bf16, and bf16 with twice the outer steps: means of `repeats` networks by seed."""
    steps = steps or satm.choose_preset(dataset, ipc=ipc, profile="cpu").config.settings.outer_steps
    rows: list[dict[str, Any]] = []
    for precision, outer_steps in (("float32", steps), ("bf16", steps), ("bf16", 2 * steps)):
        chosen = {"precision": precision, "outer_steps": outer_steps}
        preset = satm.choose_preset(
            dataset, ipc=ipc, profile="cpu", settings={**chosen, "engine": "replay", "compile": "eager"}
        )
        means = []
        for seed in range(seeds):
            with bf16_lent() if precision == "bf16" else nullcontext():
                made = satm.condense(preset, seed=seed, registry=registry)
            satm.evaluate(made.record.name, repeats=repeats, registry=registry)
            with Registry.open(registry, read_only=True) as store:
                found = store.results(set=made.record.id, protocol="in-domain", memory="condensed", metric="accuracy")
            means.append(statistics.mean(row.value for row in found))
            print(f"{precision}, {outer_steps} outer steps, seed {seed}: {means[-1]:.2%}", flush=True)
        rows.append({**chosen, "means": means, "networks": repeats})
        less = paired_interval(means, rows[0]["means"])
        print(
            f"{precision}, {outer_steps} outer steps: {statistics.mean(means):.2%} ± {statistics.pstdev(means):.2%}, "
            f"n = {seeds}; less float32's: {less.mean:+.2%} ± {less.half:.2%} (95%)",
            flush=True,
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each row, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("gradients", "accuracy"))
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--segments", type=int, default=3, help="segments of `gradients`")
    parser.add_argument("--seeds", type=int, default=3, help="condensations of `accuracy`")
    parser.add_argument("--outer-steps", type=int, help="outer steps of a condensation (default: those of the profile)")
    parser.add_argument("--repeats", type=int, default=5, help="networks that evaluate a set")
    parser.add_argument("--registry", type=Path, help="registry of `accuracy` (default: a temporary one)")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        if asked.what == "gradients":
            with bf16_lent():
                rows = gradients(asked.dataset, asked.ipc, asked.segments)
        else:
            registry = asked.registry or Path(folder, "satm.db")
            rows = accuracy(asked.dataset, asked.ipc, asked.seeds, asked.repeats, registry, asked.outer_steps)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
