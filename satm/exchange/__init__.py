"""Synthetic sets as other people's code writes and reads them: one file a format, paths in, tensors out, and back.

Nothing here runs what a file holds: pickles are read weights-only, and every failure is one `SatmError`.
"""

from satm.exchange import dc, dd_ranking, imagefolder, kip, mtt, parquet, rded, tensorfile
from satm.exchange.base import FORMATS, SPACES, Foreign, Format, Space
from satm.exchange.claims import Claims
from satm.exchange.config import ImportConfig
from satm.exchange.diff import Difference, differences
from satm.exchange.files import parents_of
from satm.exchange.labels import labels_by_folder, settled_labels
from satm.exchange.moments import Moments, check_moments

for _format in (
    mtt.MTT,
    mtt.DATM,
    dc.DC,
    kip.KIP,
    rded.RDED,
    dd_ranking.DD_RANKING,
    imagefolder.IMAGEFOLDER,
    parquet.PARQUET,
    tensorfile.SAFETENSORS,
):
    FORMATS.add(_format.name, _format)

__all__ = [
    "FORMATS",
    "SPACES",
    "Claims",
    "Difference",
    "Foreign",
    "Format",
    "ImportConfig",
    "Moments",
    "Space",
    "check_moments",
    "differences",
    "labels_by_folder",
    "parents_of",
    "settled_labels",
]
