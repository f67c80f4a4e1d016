"""TESLA's rows of hyper-parameters, from its README. MTT and SATM lend it rows for other sets. This is data only."""

from __future__ import annotations

from satm.presets._types import Row

_SOURCE = "tesla 488842e, README.md"
_HALF = "half the printed learning rate of the images: the published code's gradient is half of the right one"

ROWS: tuple[Row, ...] = (
    Row(
        method="tesla",
        dataset="cifar10",
        ipc=1,
        depth=3,
        image_size=32,
        inner_steps=50,
        expert_epochs=2,
        max_start_epoch=5,
        batch_syn=None,
        lr_images=500.0,
        lr_step_size=1e-7,
        zca=True,
        source=_SOURCE,
        settings={"labels": "hard"},
        departures=(_HALF, "ZCA, as its experts are trained with: the printed command leaves it out"),
    ),
    Row(
        method="tesla",
        dataset="cifar100",
        ipc=50,
        depth=3,
        image_size=32,
        inner_steps=80,
        expert_epochs=2,
        max_start_epoch=40,
        batch_syn=125,
        lr_images=500.0,
        lr_step_size=1e-5,
        zca=True,
        source=_SOURCE,
        settings={"labels": "hard"},
        departures=(_HALF,),
    ),
    Row(
        method="tesla",
        dataset="imagenet-1k",
        ipc=1,
        depth=4,
        image_size=64,
        inner_steps=10,
        expert_epochs=3,
        max_start_epoch=10,
        batch_syn=100,
        lr_images=5000.0,
        lr_step_size=1e-4,
        zca=False,
        expert_count=50,
        source=_SOURCE,
        settings={"labels": "teacher"},
        departures=(_HALF,),
        donor=False,  # no other data set may use this row: it has teacher labels
    ),
)
