"""Reads and writes synthetic sets in the layouts of other projects, one file for each layout.

No code in a file is run: pickles are read weights-only. Every failure raises a `SatmError`. A new layout is one file
with a `LAYOUTS.add(Layout(...))`; `satm.exchange.mtt` is a short example.
"""

from satm.exchange.base import LABEL_KINDS, LAYOUTS, SPACES, Foreign, Layout, Space, lost
from satm.exchange.claims import Claims
from satm.exchange.config import ImportConfig
from satm.exchange.diff import Difference, differences

__all__ = [
    "LABEL_KINDS",
    "LAYOUTS",
    "SPACES",
    "Claims",
    "Difference",
    "Foreign",
    "ImportConfig",
    "Layout",
    "Space",
    "differences",
    "lost",
]
