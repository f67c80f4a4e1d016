"""Importing Avalanche (some ten seconds), quietly and without touching NumPy's global stream."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np


def avalanche_stream() -> ModuleType:
    """`protocols.stream`, with every part of Avalanche that the protocols use imported."""
    state = np.random.get_state()  # noqa: NPY002 - a dependency of Avalanche's draws from it when imported
    try:
        with warnings.catch_warnings():
            # Deprecations among Avalanche's own dependencies, which no user of ours can mend.
            warnings.simplefilter("ignore")
            from protocols import fresh, stream  # noqa: F401 - for what it imports
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return stream
