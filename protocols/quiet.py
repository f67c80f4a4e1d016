"""Imports Avalanche without its warnings and without a change to NumPy's global stream. It takes about ten seconds."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np


def avalanche_stream() -> ModuleType:
    """The module `protocols.stream`. Every part of Avalanche that trains is imported with it."""
    state = np.random.get_state()  # noqa: NPY002 - a dependency of Avalanche draws from it when imported
    try:
        with warnings.catch_warnings():
            # Deprecation warnings come from Avalanche's dependencies: a user of this suite cannot fix them.
            warnings.simplefilter("ignore")
            from protocols import fresh, stream  # noqa: F401 - for what it imports
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return stream
