"""A set of our own, to be exported and imported again."""

from __future__ import annotations

from typing import Any

import torch

import satm
from satm.data import CATALOGUE
from satm.data.digits import read_digits
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet
from tests.satm.exchange.files import K


def own(**changes: Any) -> SyntheticSet:
    """Two digits of each class near the real ones, as `satm condense` makes them. Its α is not a short decimal."""
    raw = read_digits()
    order = torch.cat([(raw.train_labels == label).nonzero()[:2, 0] for label in range(K)])
    spec = CATALOGUE.get("digits")
    config = satm.choose_preset("digits", ipc=2, profile="smoke", settings={"image_size": 8}).config
    noise = 0.01 * torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {
        "images": MeanStd(spec.mean, spec.std)(raw.train_images[order]) + noise,
        "labels": raw.train_labels[order],
        "step_size": 0.1 / 3,
        "dataset": "digits",
        "classes": raw.classes,
        "ipc": 2,
        "method": "satm",
        "preprocessing": MeanStd(spec.mean, spec.std),
        "profile": "smoke",
        "seed": 3,
        "config": {"condense": config.to_dict()},
        "parents": ("data:0", "experts:1"),
    }
    return SyntheticSet(**settings | changes)


SOFT = torch.randn(20, K, generator=torch.Generator().manual_seed(1)) + 6 * torch.eye(K).repeat_interleave(2, 0)
SETS = {
    "hard": {},
    "logits": {"labels": SOFT, "label_kind": "logits"},
    "probabilities": {"labels": SOFT.softmax(1), "label_kind": "probabilities"},
}
