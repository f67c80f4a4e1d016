"""DREAM: IDC on real images that represent their class (Liu et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from satm.methods.base import METHODS, augment_within
from satm.methods.direct.condensation import Init
from satm.methods.direct.method import DirectMethod
from satm.methods.idc import IDC, IDCConfig, check_convolutions


@dataclass(frozen=True, slots=True, kw_only=True)
class DREAMConfig(IDCConfig):
    """IDC on chosen real images: T_k are those nearest to the centres of `batch_real` clusters of class k's features.

    The features are those of the network θ_t. The clusters are found by k-means for each fresh network, and again after
    every `cluster_every` updates of φ. One image may be nearest to several centres. φ starts at images that are chosen
    in the same way. The default values are those for CIFAR-10 in DREAM's code (argument.py, misc/reproduce.py and
    condense.py of lyq312318224/DREAM at 595e3c1).
    """

    batch_real: int = 128
    init: Init = "clustered"
    cluster_every: int | None = 10


METHODS.add(
    DirectMethod(
        name="dream",
        summary="IDC on real images at the centres of the clusters of their class (Liu et al. 2023)",
        cite=("liu2023dream",),
        config=DREAMConfig,
        data_settings=augment_within(DREAMConfig, "augment", "augment_between"),
        recipe="idc",
        begin=IDC,
        check=check_convolutions,
    )
)
