"""Preprocessing of images, and its inverse: normalisation by mean and std, or ZCA whitening.

A synthetic set is stored with its preprocessing, so an evaluation can apply the same one. There are two classes,
`MeanStd` and `ZCA`. An object of either class is called with images [..., C, H, W] (uint8 in 0..255, or float in 0..1)
and returns preprocessed images. Its method `invert` does the inverse. The registry of sets stores the result of its
method `to_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import nn

from satm.errors import ConfigError, DamagedFile, DataError, ShapeError
from satm.home import home
from satm.kept import keep, opened
from satm.types import Images


def unit_range(images: Images) -> Images:
    """The images as float in 0..1. Images of type uint8 are divided by 255, and float images are returned unchanged."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


@dataclass(frozen=True, slots=True)
class MeanStd:
    """Normalisation by mean and std: y_c = (x_c − mean_c) / std_c for every channel c of an image x in 0..1."""

    mean: tuple[float, ...]  # one value for each channel
    std: tuple[float, ...]  # one value for each channel
    kind: ClassVar[str] = "meanstd"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ConfigError(f"mean {self.mean} and std {self.std}: expected one of each a channel, std above 0")

    def __call__(self, images: Images) -> Images:
        """Normalise `images` [..., C, H, W], uint8 or float in 0..1. The result is float, on the same device."""
        x = unit_range(images)
        return (x - self._channels(self.mean, x)) / self._channels(self.std, x)

    def invert(self, images: Images) -> Images:
        """The inverse: normalised images back to values of about 0..1. The values are not clipped."""
        return images * self._channels(self.std, images) + self._channels(self.mean, images)

    def _channels(self, values: tuple[float, ...], like: Images) -> torch.Tensor:
        if like.shape[-3] != len(values):
            raise ShapeError(f"images of {like.shape[-3]} channels, normalisation for {len(values)}")
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `preprocessing_from_dict` is its inverse."""
        return {"kind": self.kind, "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class ZCA:
    """ZCA whitening of images, which are flattened to vectors x [D] with D = C·H·W and values in 0..1:

        y = (x − μ) T,  T = U (S + eps)^-1/2 Uᵀ

    μ [D] is the mean of the training images, and U S Uᵀ their covariance. If `unit` is given, the whitening is that of
    KIP. It normalises each image by `unit`, subtracts the image's own mean, and scales the image to length 1. It does
    not use μ:

        y = u T,  u = (z − mean z) / ‖z − mean z‖,  z = unit(x)

    T is then computed from the second moment of the vectors u instead of the covariance, and eps is multiplied by the
    mean eigenvalue of this second moment.

    The matrices are stored in the file `SATM_HOME/zca/<key>.safetensors`. `key` is a hash of the data from which they
    are computed, so they can be computed again if the file is lost.

    Source: kornia's ZCAWhitening(eps=0.1), as MTT uses it (docs/field.md, "Normalisation and whitening"). With `unit`:
    KIP's whitening (Nguyen et al. 2021; google-research kip/nn_training.ipynb at 30adf0e, `_get_preprocess_op`).
    """

    key: str
    eps: float  # added to the eigenvalues S
    shape: tuple[int, int, int]  # the shape (C, H, W) of the images
    unit: MeanStd | None = None  # the normalisation before KIP's whitening; None: the usual ZCA whitening
    _matrices: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    kind: ClassVar[str] = "zca"

    def __call__(self, images: Images) -> Images:
        """Whiten `images` [..., C, H, W], uint8 or float in 0..1. The result is float, on the same device."""
        x = unit_range(images)
        vectors = self._flat(x)
        vectors = vectors - self._on(x, "mean") if self.unit is None else unit_vectors(self.unit(x))
        return (vectors @ self._on(x, "transform")).view(x.shape)

    def invert(self, images: Images) -> Images:
        """The inverse: whitened images back to values of about 0..1. The values are not clipped.

        KIP's whitening (`unit`) loses the contrast of each image. Every image of the result then has the average
        contrast of the training images.
        """
        vectors = self._flat(images) @ self._on(images, "inverse")
        if self.unit is None:
            return (vectors + self._on(images, "mean")).view(images.shape)
        return self.unit.invert((vectors * self._on(images, "length")).view(images.shape))

    def _flat(self, x: Images) -> torch.Tensor:
        if tuple(x.shape[-3:]) != tuple(self.shape):
            raise ShapeError(f"images of shape {tuple(x.shape[-3:])}, ZCA transform for {tuple(self.shape)}")
        return x.reshape(*x.shape[:-3], -1)

    def _on(self, like: torch.Tensor, name: str) -> torch.Tensor:
        return self.matrices[name].to(device=like.device, dtype=like.dtype)

    @cached_property
    def matrices(self) -> Mapping[str, torch.Tensor]:
        """The float32 tensors of the whitening, by name.

        `mean` [D] is μ, `transform` [D, D] is T, and `inverse` [D, D] is the inverse of T. If `unit` is given, `length`
        (0-dimensional) replaces `mean`: it is the average length of the images before they are scaled to length 1.

        Raises DataError if the file with the tensors is missing or holds another whitening, and DamagedFile if it is
        damaged.
        """
        return self._matrices or self._read()

    @property
    def available(self) -> bool:
        """Whether the file with the matrices exists and is not damaged.

        Raises DataError if the file holds another whitening.
        """
        try:
            return self.path(self.key).exists() and bool(self.matrices)
        except DamagedFile:
            return False

    @staticmethod
    def path(key: str) -> Path:
        """The path of the file with the matrices of the whitening `key`."""
        return home() / "zca" / f"{key}.safetensors"

    def _read(self) -> Mapping[str, torch.Tensor]:
        path = self.path(self.key)
        with opened(path) as file:
            if file is None:
                raise DataError(
                    f"ZCA transform {self.key} is not in {path.parent}; load its data set once (with --data-root) to "
                    "fit it"
                )
            matrices = file.tensors()
        size = math.prod(self.shape)
        sizes: dict[str, tuple[int, ...]] = {"transform": (size, size), "inverse": (size, size)}
        sizes |= {"mean": (size,)} if self.unit is None else {"length": ()}
        if {name: tuple(matrix.shape) for name, matrix in matrices.items()} != sizes:
            raise DataError(f"{path} holds another whitening than the one described; the description is wrong")
        return matrices

    def save(self) -> None:
        """Write the matrices durably to their file in `SATM_HOME`, completely or not at all."""
        keep(self.path(self.key), self.matrices)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `preprocessing_from_dict` is its inverse."""
        said = {"kind": self.kind, "key": self.key, "eps": self.eps, "shape": list(self.shape)}
        return said if self.unit is None else {**said, "unit": self.unit.to_dict()}


def unit_vectors(images: Images) -> torch.Tensor:
    """Flatten each image, subtract its own mean, and scale it to length 1: [..., C, H, W] becomes [..., D]."""
    vectors = images.reshape(*images.shape[:-3], -1)
    vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    return nn.functional.normalize(vectors, dim=-1)


Preprocessing: TypeAlias = MeanStd | ZCA


def preprocessing_from_dict(values: Mapping[str, Any]) -> Preprocessing:
    """Make a preprocessing from the result of its `to_dict`. Raises ConfigError for any other value."""
    try:
        match values["kind"]:
            case "meanstd":
                return MeanStd(mean=tuple(values["mean"]), std=tuple(values["std"]))
            case "zca":
                channels, height, width = values["shape"]
                unit = preprocessing_from_dict(values["unit"]) if "unit" in values else None
                if unit is not None and (isinstance(unit, ZCA) or len(unit.mean) != channels):
                    raise ValueError(f"unit is no mean and std of {channels} channels")
                return ZCA(key=values["key"], eps=values["eps"], shape=(channels, height, width), unit=unit)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"preprocessing {dict(values)} is incomplete: {error!r}") from error
    raise ConfigError(f"preprocessing kind '{values['kind']}' is unknown; expected meanstd or zca")
