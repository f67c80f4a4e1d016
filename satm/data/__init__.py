"""Real images: the catalogue of data sets, where they are looked for, and how they are read, split and preprocessed."""

from satm.data.catalogue import CATALOGUE, DatasetSpec
from satm.data.dataset import ImageData, load
from satm.data.lookup import Place, places
from satm.data.raw import Raw
from satm.data.split import Split, stratified
from satm.data.zca import fitted_zca

__all__ = [
    "CATALOGUE",
    "DatasetSpec",
    "ImageData",
    "Place",
    "Raw",
    "Split",
    "fitted_zca",
    "load",
    "places",
    "stratified",
]
