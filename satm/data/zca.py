"""Fits the ZCA whitening that `satm.preprocessing.ZCA` applies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import torch

from satm.canonical import digest
from satm.errors import DamagedFile, DataError
from satm.machine.room import check_room
from satm.preprocessing import ZCA, MeanStd, unit_vectors
from satm.progress import Progress
from satm.types import Images

# D = C·H·W is the number of values of one flattened image.
EPS = 0.1  # added to the eigenvalues; the usual value (kornia's ZCAWhitening(eps=0.1) in MTT utils.py)
_VERSION = 1  # the version of the computation below; a part of the key of the stored whitening
_CHUNK = 4096  # the number of images that are converted to float64 at once
_MATRICES = 6  # the largest number of [D, D] float64 matrices that the fit holds at the same time

# The covariance or second moment [D, D] float64 of the images, and other tensors to store with the whitening, by name.
Moment: TypeAlias = tuple[torch.Tensor, dict[str, torch.Tensor]]


def fitted_zca(
    images: Images,
    *,
    fingerprint: str,
    eps: float = EPS,
    unit: MeanStd | None = None,
    device: torch.device | str = "cpu",
    progress: Progress,
) -> ZCA:
    """Fit the ZCA whitening to training `images` [n, C, H, W] uint8, or read it from `SATM_HOME` if it is stored there.

    If the stored file is damaged, the whitening is fitted again, and `progress` says so. The result whitens images
    by a matrix T [D, D], where D = C·H·W is the number of values of a flattened image. Below, U S Uᵀ is an
    eigendecomposition: the columns of U are eigenvectors, and the diagonal matrix S holds the eigenvalues.

    If `unit` is None, the result is the usual whitening. x are the flattened images in 0..1, and μ is their mean:

        Cov = Σ (x − μ)(x − μ)ᵀ / (n − 1) = U S Uᵀ,  T = U (S + eps)^-1/2 Uᵀ,  T⁻¹ = U (S + eps)^1/2 Uᵀ

    If `unit` is given, the result is the whitening of the method KIP. u are the flattened images, each normalised by
    `unit`, centred at its own mean and scaled to length 1 (see `ZCA`):

        Σ u uᵀ / n = U S Uᵀ,  T = U (S + eps · tr S / D)^-1/2 Uᵀ

    If n < D, some directions are orthogonal to all u. KIP's whitening leaves these directions unchanged. Everything is
    computed in float64 and stored in float32. `fingerprint` identifies the images in the key of the file. The fit needs
    a few times the memory of one [D, D] matrix, D² · 8 bytes: 75 MB at 32×32 (D = 3072), 1.2 GB at 64×64 (D = 12288).
    Raises DataError for fewer than two images or too little memory, and SatmError if the result cannot be saved.

    Source: docs/field.md, "Normalisation and whitening" (MTT utils.py:137-165; kornia zca.py, whose SVD of Cov gives
    the same T). For the whitening with `unit`, see the source in `ZCA`.
    """
    count, channels, height, width = images.shape
    named: dict[str, Any] = {"data": fingerprint, "eps": eps, "version": _VERSION}
    key = digest(named if unit is None else {**named, "unit": unit.to_dict()})
    found = ZCA(key=key, eps=eps, shape=(channels, height, width), unit=unit)
    if ZCA.path(key).exists():
        try:
            _ = found.matrices  # read the file now, so that damage is found here and not in the middle of training
            return found
        except DamagedFile as error:
            progress.say(f"{error.path} is damaged ({error.reason})")
    _check_can_fit(images, device)
    progress.say(
        f"fitting ZCA whitening on {count} images of {channels}×{height}×{width} (once; kept in {ZCA.path(key)})"
    )
    # The fit needs float64, which other devices than CPU and CUDA may not have.
    resolved = torch.device(device) if torch.device(device).type == "cuda" else torch.device("cpu")
    moment, kept = _covariance(images, resolved) if unit is None else _unit_moment(images, unit, resolved)
    values, directions = torch.linalg.eigh(moment)
    values = values.clamp(min=0)  # round-off can leave an eigenvalue a little below 0
    scale = (values + (eps if unit is None else eps * values.mean())).sqrt()
    if unit is not None:
        # Eigenvalues are in ascending order. If n < D, the first D − n belong to directions orthogonal to all images.
        scale[: max(0, len(values) - count)] = 1.0
    kept |= {"transform": (directions / scale) @ directions.T, "inverse": (directions * scale) @ directions.T}
    matrices = {name: value.float().cpu().contiguous() for name, value in kept.items()}
    fitted = replace(found, _matrices=matrices)
    fitted.save()
    return fitted


def _check_can_fit(images: Images, device: torch.device | str) -> None:
    """Raise DataError if there are fewer than two images, or if the matrices do not fit in the memory of `device`."""
    count, channels, height, width = images.shape
    if count < 2:
        raise DataError(f"ZCA needs at least 2 training images, got {count}; go without it")
    size = channels * height * width
    check_room(
        8 * size * (_MATRICES * size + 3 * min(count, _CHUNK)),
        f"fitting ZCA on {channels}×{height}×{width} images, with matrices of {size}×{size} numbers,",
        "go without it (--set zca=false) or give a smaller image_size",
        device,
    )


def _covariance(images: Images, device: torch.device) -> Moment:
    """The covariance [D, D] of the flattened images, and their mean [D]."""
    mean = images.flatten(1).sum(0, dtype=torch.int64).to(device).double() / (255 * len(images))
    moment = mean.new_zeros(len(mean), len(mean))
    for chunk in images.split(_CHUNK):
        vectors = (chunk.to(device).double() / 255).flatten(1) - mean
        moment.addmm_(vectors.T, vectors)
    return moment / (len(images) - 1), {"mean": mean}


def _unit_moment(images: Images, unit: MeanStd, device: torch.device) -> Moment:
    """The second moment [D, D] of the vectors u (`fitted_zca`), and the mean of the lengths before the scaling to 1."""
    size = images[0].numel()
    moment, length = torch.zeros(size, size, dtype=torch.float64, device=device), 0.0
    for chunk in images.split(_CHUNK):
        normalised = unit(chunk.to(device).double() / 255)
        vectors = unit_vectors(normalised)
        length += float((normalised.flatten(1) * vectors).sum())
        moment.addmm_(vectors.T, vectors)
    return moment / len(images), {"length": torch.tensor(length / len(images))}
