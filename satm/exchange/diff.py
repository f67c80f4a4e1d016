"""Compares two synthetic sets: their tensors by shape, type, mean, std and range, their descriptions key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from satm.synthetic import SyntheticSet


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two sets.

    `a` and `b` are the values in the first and in the second set; None if the set has no such value. If the difference
    is stated for both sets together, such as the number of unequal values, `a` is None and `b` is the statement.
    """

    what: str  # the name of the value: images.std, config.condense.settings.rho …
    a: Any
    b: Any


def differences(a: SyntheticSet, b: SyntheticSet) -> list[Difference]:
    """Return the differences: first in the tensors, then in the descriptions (by dotted key), then in the parents.

    Two sets with the same id have no differences.
    """
    return [*_tensors("images", a.images, b.images), *_labels(a, b), *_described(a, b)]


def _tensors(name: str, a: torch.Tensor, b: torch.Tensor) -> Iterator[Difference]:
    """Yield the shape, type, mean, std and range that differ, then how many values differ and by how much.

    The numbers of values are compared only if the shapes are equal. Yields nothing if the tensors are equal.
    """
    a, b = a.detach().cpu(), b.detach().cpu()
    if a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b):
        return
    facts = {"shape": lambda t: list(t.shape), "dtype": lambda t: str(t.dtype).removeprefix("torch.")} | {
        moment: lambda t, moment=moment: _moment(t, moment) for moment in ("mean", "std", "min", "max")
    }
    for fact, of in facts.items():
        if of(a) != of(b):
            yield Difference(f"{name}.{fact}", of(a), of(b))
    if a.shape == b.shape:
        unequal = (a.double() - b.double()).abs()
        count = f"{int((unequal > 0).sum())} of {a.numel()} values, by at most {float(unequal.max()):.3g}"
        yield Difference(f"{name}.differ_in", None, count)


def _moment(tensor: torch.Tensor, name: str) -> float:
    values = tensor.double()
    return float(values.std(correction=0) if name == "std" else getattr(values, name)())


def _labels(a: SyntheticSet, b: SyntheticSet) -> Iterator[Difference]:
    yield from _tensors("labels", a.labels, b.labels)
    if len(a.labels) == len(b.labels) and a.label_kind != b.label_kind:
        same = int((a.hard_labels.cpu() == b.hard_labels.cpu()).sum())
        yield Difference("labels.same_likeliest_class", None, f"{same} of {len(a.labels)} images")


def _described(a: SyntheticSet, b: SyntheticSet) -> Iterator[Difference]:
    left, right = dict(_flat(a.describe())), dict(_flat(b.describe()))
    for key in dict.fromkeys((*left, *right)):
        if left.get(key) != right.get(key):
            yield Difference(key, left.get(key), right.get(key))
    if a.parents != b.parents:
        yield Difference("parents", list(a.parents), list(b.parents))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
