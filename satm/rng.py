"""Random numbers from one root seed. Each part of the work has a named seed; torch's global stream is not changed.

The draws of a named part ("expert 3, epoch 2") depend only on the root seed and on the name. So the work can be
stopped and continued, reordered or extended, and each part still has the same draws. All generators are on the CPU, so
the draws are the same on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed of one part of the work: the root seed, and the names that lead to this part.

    >>> Seed(0).child("expert", 3) == Seed(0, ("expert", 3))
    True
    """

    root: int
    path: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> Seed:
        """The seed of a part of this seed's work. `names` are the names of the part, from the outer to the inner."""
        return Seed(self.root, (*self.path, *names))

    @property
    def value(self) -> int:
        """An integer of 63 bits that depends on the root seed and on every name of the path."""
        text = repr((self.root, *self.path)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def generator(self) -> torch.Generator:
        """A new CPU generator at the start of this seed's stream of random numbers."""
        return torch.Generator().manual_seed(self.value)

    @contextmanager
    def forked(self) -> Iterator[None]:
        """A block in which torch's global generators start from this seed. After the block they continue as before.

        It is for torch code that takes no generator, such as the initialisation of layers.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.value)
            yield
