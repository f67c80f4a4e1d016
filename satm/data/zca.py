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

EPS = 0.1  # added to the eigenvalues: the field's value (kornia's ZCAWhitening(eps=0.1) in MTT utils.py)
_VERSION = 1  # of the fit below; part of the key
_CHUNK = 4096  # images in float64 at once
_MATRICES = 6  # [D, D] float64 that the fit holds at its peak

Moment: TypeAlias = tuple[torch.Tensor, dict[str, torch.Tensor]]  # [D, D] float64, and the other tensors to keep


def fitted_zca(
    images: Images,
    *,
    fingerprint: str,
    eps: float = EPS,
    unit: MeanStd | None = None,
    device: torch.device | str = "cpu",
    progress: Progress,
) -> ZCA:
    """The whitening of training `images` [n, C, H, W] uint8. It is read from `SATM_HOME` if it was fitted before.

    A damaged file is fitted again, and `progress` says so.

    Without `unit`, the whitening that the field uses. x are the images in 0..1, flattened to D = C·H·W numbers, and μ
    is their mean:

        Cov = Σ (x − μ)(x − μ)ᵀ / (n − 1) = U S Uᵀ,  T = U (S + eps)^-1/2 Uᵀ,  T⁻¹ = U (S + eps)^1/2 Uᵀ

    With `unit`, KIP's own whitening. u are the flattened images scaled to length 1 (see `ZCA`):

        Σ u uᵀ / n = U S Uᵀ,  T = U (S + eps · tr S / D)^-1/2 Uᵀ

    If n < D, KIP's whitening does not change the directions that no image has. Both are fitted in float64 and kept in
    float32. `fingerprint` names the data in the key. Fitting takes a few times D² · 8 bytes (D = 3072 at 32×32: 75 MB;
    12288 at 64×64: 1.2 GB). Raises DataError on fewer than two images and SatmError if the result cannot be saved.

    Source: docs/field.md, "Normalisation and whitening" (MTT utils.py:137-165; kornia zca.py, whose SVD of Cov gives
    the same T); for `unit`, the source of `ZCA`.
    """
    count, channels, height, width = images.shape
    named: dict[str, Any] = {"data": fingerprint, "eps": eps, "version": _VERSION}
    key = digest(named if unit is None else {**named, "unit": unit.to_dict()})
    found = ZCA(key=key, eps=eps, shape=(channels, height, width), unit=unit)
    if ZCA.path(key).exists():
        try:
            _ = found.matrices  # a damaged file is found here, not in the middle of training
            return found
        except DamagedFile as error:
            progress.say(f"{error.path} is damaged ({error.reason})")
    _check_can_fit(images, device)
    progress.say(
        f"fitting ZCA whitening on {count} images of {channels}×{height}×{width} (once; kept in {ZCA.path(key)})"
    )
    # Other devices than CUDA may have no float64.
    resolved = torch.device(device) if torch.device(device).type == "cuda" else torch.device("cpu")
    moment, kept = _covariance(images, resolved) if unit is None else _unit_moment(images, unit, resolved)
    values, directions = torch.linalg.eigh(moment)
    values = values.clamp(min=0)  # round-off can leave an eigenvalue a little below 0
    scale = (values + (eps if unit is None else eps * values.mean())).sqrt()
    if unit is not None:
        scale[: max(0, len(values) - count)] = 1.0
    kept |= {"transform": (directions / scale) @ directions.T, "inverse": (directions * scale) @ directions.T}
    matrices = {name: value.float().cpu().contiguous() for name, value in kept.items()}
    fitted = replace(found, _matrices=matrices)
    fitted.save()
    return fitted


def _check_can_fit(images: Images, device: torch.device | str) -> None:
    """Raise DataError for fewer than two images, and if the matrices do not fit the memory of `device`."""
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
    """The second moment [D, D] of the images scaled to length 1, and the mean of their lengths before."""
    size = images[0].numel()
    moment, length = torch.zeros(size, size, dtype=torch.float64, device=device), 0.0
    for chunk in images.split(_CHUNK):
        normalised = unit(chunk.to(device).double() / 255)
        vectors = unit_vectors(normalised)
        length += float((normalised.flatten(1) * vectors).sum())
        moment.addmm_(vectors.T, vectors)
    return moment / len(images), {"length": torch.tensor(length / len(images))}
