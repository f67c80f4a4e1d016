"""How far float32 and bf16 hypergradients are from the float64 one, by window, on real images and a real expert.

    SATM_DATA=… python benchmarks/precision.py [--dataset cifar10] [--ipc 1] [--segments 3] [--json FILE]

Experts of the `cpu` profile are taken, or trained first. A CPU without bfloat16 instructions computes the same numbers,
slowly: it is their precision that is measured here, not their speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import satm
from satm import networks
from satm.engine import InnerLoop, LastSteps, Learned, Precision, ReplayPolicy, make_step
from satm.experts import draw_segment
from satm.matching import TrajectoryLoss
from satm.methods import class_major_labels, random_images
from satm.rng import Seed
from satm.workflow.inputs import load_data, prepare_experts

PRECISIONS: tuple[tuple[str, torch.dtype, Precision], ...] = (
    ("float64", torch.float64, "float32"),
    ("float32", torch.float32, "float32"),
    ("bf16", torch.float32, "bf16"),
)


def measure(dataset: str, ipc: int, segments: int) -> list[dict[str, Any]]:
    """A row for each precision and window: means over the segments."""
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
                    Learned(images.to(dtype), labels, torch.tensor(settings.step_size, dtype=dtype)),
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


def main() -> None:
    """Print a line a row, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--segments", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = measure(asked.dataset, asked.ipc, asked.segments)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
