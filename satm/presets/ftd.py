"""FTD's numbers, as far as its scripts print them; MTT's are used for the rest. No logic."""

from __future__ import annotations

from satm.presets._types import Row

_SOURCE = "FTD-distillation 711532a, run_distill.sh"

ROWS: tuple[Row, ...] = (
    Row(
        dataset="cifar10",
        ipc=10,
        depth=3,
        image_size=32,
        inner_steps=30,
        expert_epochs=2,
        max_start_epoch=20,
        batch_syn=None,
        lr_images=100.0,
        lr_step_size=1e-5,
        step_size=0.001,
        zca=True,
        source=_SOURCE,
    ),
    Row(
        dataset="cifar100",
        ipc=10,
        depth=3,
        image_size=32,
        inner_steps=20,
        expert_epochs=2,
        max_start_epoch=40,
        batch_syn=None,
        lr_images=1000.0,
        lr_step_size=1e-5,
        zca=True,
        source=_SOURCE,
    ),
)
