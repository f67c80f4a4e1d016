"""Reads and writes synthetic sets in the layouts of other projects. Each layout has one Python file in this folder.

Code inside an imported file is never run: pickles are read with torch's `weights_only`. Every failure raises a
`SatmError`. To add a layout, see satm/exchange/base.py; satm/exchange/mtt.py is a short example.
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
