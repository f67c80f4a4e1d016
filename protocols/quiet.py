"""Imports Avalanche without showing its warnings and without changing NumPy's global random state.

The import takes about ten seconds.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np


def avalanche_stream() -> ModuleType:
    """Import the module `protocols.stream` and return it. This also imports every part of Avalanche that trains."""
    # A dependency of Avalanche draws from NumPy's global random state when it is imported.
    state = np.random.get_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            # The dependencies of Avalanche give deprecation warnings, which a user of this suite cannot fix.
            warnings.simplefilter("ignore")
            # `fresh` is not used here. It is imported because it imports the parts of Avalanche that train.
            from protocols import fresh, stream  # noqa: F401
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return stream
