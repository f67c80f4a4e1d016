"""The orders in which the classes arrive in a class-incremental stream, and the division of an order into steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from satm.canonical import digest
from satm.errors import ConfigError
from satm.rng import Seed

Groups: TypeAlias = tuple[tuple[int, ...], ...]
"""The classes of each incremental step."""

ICARL = 1993
"""NumPy's seed for iCaRL's class order on CIFAR-100 (srebuffi/iCaRL, iCaRL-TheanoLasagne/main_cifar_100_theano.py)."""

LARGEST = 2**24  # the largest size of a file with a class order, in bytes


@dataclass(frozen=True, slots=True)
class Steps:
    """What arrives in the incremental steps of one stream: new classes, or known classes in a new domain."""

    groups: Groups  # in a domain-incremental stream, every group has all classes
    domains: tuple[str, ...] | None = None  # the domain of each step; None: the stream is class-incremental

    def facts(self) -> dict[str, list[str] | list[list[int]]]:
        """Return what the details of results say about the steps."""
        if self.domains is not None:
            return {"domains_by_step": list(self.domains)}
        return {"classes_by_step": [list(group) for group in self.groups]}


@dataclass(frozen=True, kw_only=True)
class ClassOrders:
    """Gives class orders by one of three rules: the order `fixed`, the orders of `seeds`, or else `class_order`."""

    name: str = ""  # the name of the rule in results; "" for the default
    seeds: bool = False  # whether order number n is the permutation that NumPy gives at seed n (`numpy_order`)
    fixed: tuple[int, ...] | None = None  # one order that is used for every number

    def order(self, number: int, num_classes: int, seed: Seed) -> tuple[int, ...]:
        """Order `number`, counted from 0: a permutation of 0..num_classes − 1.

        The default rule uses only `seed`, so the caller must give another seed for each number. The other rules do not
        use `seed`.
        """
        if self.fixed is not None:
            return self.fixed
        return numpy_order(num_classes, number) if self.seeds else class_order(num_classes, seed)


def class_orders(kind: str | None, classes: Sequence[str]) -> ClassOrders:
    """The rule for class orders that `kind` names, for a data set with the class names `classes`.

    - None: permutations by `class_order`, which depend on the suite's seed.
    - "field": NumPy's permutations at the seeds 0, 1, 2, …, which DM uses (CL_DM.py:59-62).
    - "icarl": always NumPy's permutation at seed 1993. For CIFAR-100 this is iCaRL's order.
    - Any other text: the path of a file with one order (see `read_order`).

    Raises ConfigError if the file is wrong.
    """
    if kind is None:
        return ClassOrders()
    if kind == "field":
        return ClassOrders(name="field", seeds=True)
    if kind == "icarl":
        return ClassOrders(name="icarl", fixed=numpy_order(len(classes), ICARL))
    order = read_order(Path(kind), classes)
    return ClassOrders(name=f"file {digest({'order': list(order)})[:8]}", fixed=order)


def class_order(num_classes: int, seed: Seed) -> tuple[int, ...]:
    """A permutation of 0..num_classes − 1 that depends only on `seed`. This is the suite's default order.

    Other projects use NumPy's global random generator (`numpy_order`). So they get other orders from the same seeds.
    """
    generator = seed.child("class order").generator()
    return tuple(torch.randperm(num_classes, generator=generator).tolist())


def numpy_order(num_classes: int, seed: int) -> tuple[int, ...]:
    """The permutation that `np.random.seed(seed); np.random.permutation(num_classes)` returns."""
    return tuple(np.random.RandomState(seed).permutation(num_classes).tolist())


def read_order(path: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """Read a class order from a file, which is a JSON list or has one class on each line.

    A class is given by its name or by its number, counted from 0. An entry that can be both is read as a name, because
    some data sets have numbers as the names of their classes.

    Raises ConfigError if there is no such file, or if it does not contain every class exactly once.
    """
    try:
        # A device or a pipe is refused, because reading it may never end. A name that is no valid path on this system
        # raises ValueError or OSError.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OSError("it is a device or a pipe")
        if path.is_file() and path.stat().st_size > LARGEST:
            raise OSError(f"it has {path.stat().st_size:,} bytes, more than {LARGEST:,}")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"order '{path}': expected field, icarl or a file with one class a line ({error})") from error
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        found = None
    entries = found if isinstance(found, list) else [line.strip() for line in text.splitlines() if line.strip()]
    numbers = {name: label for label, name in reversed(list(enumerate(classes)))}
    numbers = {str(label): label for label in range(len(classes))} | numbers
    unknown = [str(entry) for entry in entries if str(entry) not in numbers]
    if unknown:
        raise ConfigError(
            f"order {path}: class '{unknown[0][:80]}' is not in the data set; expected numbers from 0 to "
            f"{len(classes) - 1} or names such as '{classes[0]}'"
        )
    order = tuple(numbers[str(entry)] for entry in entries)
    repeated = [classes[label] for label in order if order.count(label) > 1]
    if repeated:
        raise ConfigError(f"order {path}: class '{repeated[0]}' is there twice; name every class once")
    missing = [name for label, name in enumerate(classes) if label not in order]
    if missing:
        raise ConfigError(f"order {path}: {len(missing)} classes are missing, the first is '{missing[0]}'; name all")
    return order


def split_classes(order: Sequence[int], steps: int, base: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Cut `order` into `steps` consecutive groups of classes. The first group has `base` classes.

    The other groups have equal sizes. Without `base`, all groups have equal sizes. If equal sizes are not possible,
    they differ by at most one, and the larger groups come first. So every class is in a group, but Avalanche's own
    generator drops the classes that are left over.

    Raises ConfigError if there are more steps than classes, if there is no step, or if `base` leaves fewer classes than
    there are other steps.
    """
    count = len(order)
    if not 1 <= steps <= count:
        raise ConfigError(f"steps {steps}: expected 1 to {count}, as there are {count} classes")
    if base is None:
        sizes = _even(count, steps)
    elif steps == 1 or not 1 <= base <= count - (steps - 1):
        raise ConfigError(
            f"base {base} of {count} classes in {steps} steps: expected at least 2 steps, and a base of 1 to "
            f"{max(count - steps + 1, 1)} so that every later step has a class"
        )
    else:
        sizes = [base, *_even(count - base, steps - 1)]
    return tuple(tuple(order[start:stop]) for start, stop in pairwise([0, *accumulate(sizes)]))


def _even(count: int, parts: int) -> list[int]:
    """`parts` sizes with the sum `count`. They differ by at most one, and the larger sizes come first."""
    size, larger = divmod(count, parts)
    return [size + (part < larger) for part in range(parts)]


def by_class(classes: torch.Tensor, groups: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return for each group the positions [m] int64 of the examples that have a class of the group.

    `classes` [n] is the class of each example.
    """
    return [torch.isin(classes, torch.tensor(group)).nonzero().flatten() for group in groups]
