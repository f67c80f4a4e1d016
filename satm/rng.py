"""Random numbers: one root seed, a named seed for each part of the work, and no use of the global stream.

The generator of a named part ("expert 3, epoch 2") depends only on the root seed and the name. So work can be stopped,
reordered or extended, and no other draw changes. All generators are on the CPU: the draws are the same on every device.
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
        """The seed of a named part of the work of this seed."""
        return Seed(self.root, (*self.path, *names))

    @property
    def value(self) -> int:
        """An integer of 63 bits that depends on the root and on every name of the path."""
        text = repr((self.root, *self.path)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator at the start of this seed's stream."""
        return torch.Generator().manual_seed(self.value)

    @contextmanager
    def forked(self) -> Iterator[None]:
        """A block in which torch's global streams start from this seed. After the block they are as before.

        For torch code that takes no generator, such as the initialisation of layers.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.value)
            yield
