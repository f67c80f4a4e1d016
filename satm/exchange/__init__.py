"""Synthetic sets as other people's code writes and reads them: one file a format, paths in, tensors out, and back.

Nothing here runs what a file holds: pickles are read weights-only, and every failure is one `SatmError`.
"""

from satm.exchange.base import LAYOUTS, SPACES, Foreign, Layout, Space
from satm.exchange.claims import Claims
from satm.exchange.config import ImportConfig
from satm.exchange.diff import Difference, differences
from satm.exchange.files import parents_of
from satm.exchange.labels import labels_by_folder, settled_labels
from satm.exchange.moments import Moments, check_moments

__all__ = [
    "LAYOUTS",
    "SPACES",
    "Claims",
    "Difference",
    "Foreign",
    "ImportConfig",
    "Layout",
    "Moments",
    "Space",
    "check_moments",
    "differences",
    "labels_by_folder",
    "parents_of",
    "settled_labels",
]
