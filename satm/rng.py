"""Randomness: one seed at the root, named generators below it, and no use of the global stream.

A generator for a named purpose ("expert 3, epoch 2") depends on the root seed and the name alone, so work can be
stopped, reordered or extended without any other draw changing. All generators live on the CPU: the draws, and so the
numbers, are the same whichever device does the arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed and the path of names under it.

    >>> Seed(0).child("expert", 3) == Seed(0, ("expert", 3))
    True
    """

    root: int
    path: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> Seed:
        """The seed of a named part of this one's work."""
        return Seed(self.root, (*self.path, *names))

    @property
    def value(self) -> int:
        """63 bits that depend on the root and every name of the path."""
        text = repr((self.root, *self.path)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator at the start of this seed's stream."""
        return torch.Generator().manual_seed(self.value)

    @contextmanager
    def forked(self) -> Iterator[None]:
        """Run torch code that only knows the global stream (layer initialisation) under this seed.

        The global streams are as before afterwards.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.value)
            yield
