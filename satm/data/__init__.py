"""Real images: a catalogue of data sets, and the code that finds, reads, splits and preprocesses their images."""

from satm.data.catalogue import CATALOGUE, DatasetSpec
from satm.data.dataset import ImageData, load
from satm.data.raw import Raw
from satm.data.split import Split
from satm.data.zca import fitted_zca

__all__ = ["CATALOGUE", "DatasetSpec", "ImageData", "Raw", "Split", "fitted_zca", "load"]
