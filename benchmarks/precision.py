"""Measures what bf16 changes: the error of hypergradients at several windows, and the accuracy of condensed sets.

    SATM_DATA=… python benchmarks/precision.py gradients [--dataset cifar10] [--ipc 1] [--segments 3] [--json FILE]
    SATM_DATA=… python benchmarks/precision.py accuracy [--seeds 3] [--registry FILE] [--json FILE]

The images and the experts are real ones. `gradients` measures how far the hypergradients in float32 and in bf16 are
from the hypergradient in float64. `accuracy` condenses sets in float32, in bf16 with the same number of outer steps,
and in bf16 with twice this number. Twice the number takes the same time if bf16 halves the time of a step. `accuracy`
can be stopped and started again. The experts are those of the `cpu` profile. Missing experts are trained first. On a
CPU without bfloat16 instructions, float32 kernels imitate them (`Float32Kernels`). This is possible because only the
precision is measured, not the speed. Everything runs uncompiled.
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

# Each entry is (the name in the table, the data type of parameters and images, the precision of the engine). The engine
# has no "float64". With "float32", it computes in the data type of the parameters.
PRECISIONS: tuple[tuple[str, torch.dtype, Precision], ...] = (
    ("float64", torch.float64, "float32"),
    ("float32", torch.float32, "float32"),
    ("bf16", torch.float32, "bf16"),
)


class Float32Kernels(TorchDispatchMode):
    """Runs bfloat16 convolutions and products on float32 kernels, because some CPUs have slow bfloat16 kernels only.

    The operands keep their bfloat16 values, the sums are computed in float32, and the result is rounded to bfloat16
    once. Hardware for bfloat16 does the same, except for the order of the sums.
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
        """Run one operation of torch. Torch calls this method for every operation."""
        given = (args, kwargs or {})
        if func not in self.SLOW or not any(_is(torch.bfloat16, leaf) for leaf in tree_flatten(given)[0]):
            return func(*args, **kwargs or {})
        wide, named = tree_map(lambda x: x.float() if _is(torch.bfloat16, x) else x, given)
        return tree_map(lambda x: x.bfloat16() if _is(torch.float32, x) else x, func(*wide, **named))


def _is(dtype: torch.dtype, leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dtype is dtype


@contextmanager
def bf16_lent() -> Iterator[None]:
    """A block in which the precision "bf16" works on every machine.

    If the machine has no bfloat16 instructions, `Float32Kernels` imitates them, and the engine's check is switched off.
    """
    lacking = missing_bf16()
    if lacking is None:
        yield
        return
    print(f"{lacking}: float32 kernels, rounded", file=sys.stderr)
    with Float32Kernels(), patch("satm.engine.choice.missing_bf16", return_value=None):
        yield


def gradients(dataset: str, ipc: int, segments: int) -> list[dict[str, Any]]:
    """Compare the hypergradients of random images in float32 and in bf16 with the hypergradient in float64.

    Returns one row for each precision and window. Its cosine and its relative error are means over `segments` segments,
    pieces of an expert's trajectory that one outer step matches.
    """
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
    """Condense and evaluate sets in float32, in bf16, and in bf16 with twice the outer steps.

    Returns one row for each of the three. Its `means` are the mean test accuracies of `repeats` networks, one mean for
    each of the `seeds` condensations.
    """
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
    """Run `gradients` or `accuracy`, and write the rows to the JSON file that `--json` names."""
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
