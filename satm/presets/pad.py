"""The hyper-parameters of PAD, from the configuration files of its code. This file holds data only.

PAD's files print DATM's numbers, with the few differences below, and the share of the parameters that is not matched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from satm.experts import FilterConfig
from satm.presets import datm
from satm.presets._types import Row

_FOLDER = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "tiny-imagenet": "TinyImageNet"}
_FILTER = FilterConfig()  # from the command in PAD's README that trains the experts ("buffer_CL.py")
_SHARES: Mapping[str, Mapping[int, float]] = {  # depth_ratio
    "cifar10": {1: 0.0, 10: 0.5, 50: 0.25, 500: 0.5, 1000: 0.5},
    "cifar100": {1: 0.5, 10: 0.5, 50: 0.0, 100: 0.5},
    "tiny-imagenet": {1: 0.5, 10: 0.5, 50: 0.5},
}
_OTHER_ROWS: Mapping[tuple[str, int], Mapping[str, Any]] = {  # fields of a row that differ from DATM's
    ("cifar10", 50): {"expert_epochs": 3},
    ("cifar10", 500): {"max_start_epoch": 70},
    ("cifar100", 1): {"max_start_epoch": 30},
}
_OTHER_SETTINGS: Mapping[tuple[str, int], Mapping[str, Any]] = {  # settings that differ from DATM's
    ("cifar10", 500): {"first_upper_epoch": 60, "expansion_steps": 2000},
    ("cifar100", 1): {"first_upper_epoch": 20},
}


def _row(row: Row) -> Row:
    """PAD's row for the data set and the IPC of DATM's `row`."""
    key = row.dataset, row.ipc
    return replace(
        row,
        method="pad",
        source=f"PAD 2a4bc91, configs/{_FOLDER[row.dataset]}/ConvIN/IPC{row.ipc}.yaml",
        filter=_FILTER,
        settings={**row.settings, **_OTHER_SETTINGS.get(key, {}), "match_from": _SHARES[row.dataset][row.ipc]},
        **_OTHER_ROWS.get(key, {}),
    )


ROWS: tuple[Row, ...] = tuple(_row(row) for row in datm.ROWS)
