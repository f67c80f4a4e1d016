"""Takes images from the disk to the space of a synthetic set and back: by mean and std, or by ZCA whitening.

A set carries its preprocessing, so an evaluation never has to guess it. Both kinds are callables on [..., C, H, W]
images (uint8 in 0..255 or float in 0..1) and have an `invert`. The registry stores either as a plain dictionary.
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
    """Images as float in 0..1: uint8 is divided by 255, float stays as it is."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


@dataclass(frozen=True, slots=True)
class MeanStd:
    """y_c = (x_c − mean_c) / std_c for every channel c of x in 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: ClassVar[str] = "meanstd"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ConfigError(f"mean {self.mean} and std {self.std}: expected one of each a channel, std above 0")

    def __call__(self, images: Images) -> Images:
        """[..., C, H, W] uint8 or 0..1 float → normalised float, on the same device."""
        x = unit_range(images)
        return (x - self._channels(self.mean, x)) / self._channels(self.std, x)

    def invert(self, images: Images) -> Images:
        """Normalised images back to about 0..1, not clipped."""
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
    """ZCA whitening of flattened images x [D], D = C·H·W, in 0..1:

        y = (x − μ) T,  T = U (S + eps)^-1/2 Uᵀ,  with U S Uᵀ the covariance of the training images

    With `unit`, KIP's whitening. Each image is normalised by `unit`, centred and scaled to length 1; μ is not used:

        y = u T,  u = (z − mean z) / ‖z − mean z‖,  z = unit(x)

    Here eps is multiplied by the mean eigenvalue of u's second moment. The matrices are in
    `SATM_HOME/zca/<key>.safetensors`. `key` hashes the data of the fit, so a lost file can be fitted again.

    Source: kornia's ZCAWhitening(eps=0.1), as MTT uses it (docs/field.md, "Normalisation and whitening"); with `unit`
    KIP's whitening (Nguyen et al. 2021; google-research kip/nn_training.ipynb at 30adf0e, `_get_preprocess_op`).
    """

    key: str
    eps: float
    shape: tuple[int, int, int]  # C, H, W
    unit: MeanStd | None = None
    _matrices: dict[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    kind: ClassVar[str] = "zca"

    def __call__(self, images: Images) -> Images:
        """[..., C, H, W] uint8 or 0..1 float → whitened float, on the same device."""
        x = unit_range(images)
        vectors = self._flat(x)
        vectors = vectors - self._on(x, "mean") if self.unit is None else unit_vectors(self.unit(x))
        return (vectors @ self._on(x, "transform")).view(x.shape)

    def invert(self, images: Images) -> Images:
        """Whitened images back to about 0..1, not clipped; with `unit`, they have the average image's contrast."""
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
        """`mean` [D] (or `length` [] if there is a `unit`), `transform` and `inverse` [D, D], all float32.

        Raises DataError if their file is missing, DamagedFile if it is damaged.
        """
        return self._matrices or self._read()

    @property
    def available(self) -> bool:
        """Whether the file of the matrices is there and undamaged."""
        try:
            return self.path(self.key).exists() and bool(self.matrices)
        except DamagedFile:
            return False

    @staticmethod
    def path(key: str) -> Path:
        """The file that keeps the matrices of `key`."""
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
        """Write the matrices to `SATM_HOME`, durably, completely or not at all."""
        keep(self.path(self.key), self.matrices)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able description; `preprocessing_from_dict` is its inverse."""
        said = {"kind": self.kind, "key": self.key, "eps": self.eps, "shape": list(self.shape)}
        return said if self.unit is None else {**said, "unit": self.unit.to_dict()}


def unit_vectors(images: Images) -> torch.Tensor:
    """[..., C, H, W] → [..., D]: flatten each image, subtract its own mean and scale it to length 1."""
    vectors = images.reshape(*images.shape[:-3], -1)
    vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    return nn.functional.normalize(vectors, dim=-1)


Preprocessing: TypeAlias = MeanStd | ZCA


def preprocessing_from_dict(values: Mapping[str, Any]) -> Preprocessing:
    """Rebuild a preprocessing from its `to_dict`; raises ConfigError on anything else."""
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
