"""Fitting the ZCA whitening that `satm.preprocessing.ZCA` applies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from satm.errors import DataError
from satm.preprocessing import ZCA, MeanStd, unit_vectors
from satm.progress import Progress
from satm.synthetic import digest
from satm.types import Images

EPS = 0.1  # added to the eigenvalues: the field's value (kornia's ZCAWhitening(eps=0.1) in MTT utils.py)
_VERSION = 1  # of the fit below; part of the key
_CHUNK = 4096  # images in float64 at once


def fitted_zca(
    images: Images,
    *,
    fingerprint: str,
    eps: float = EPS,
    unit: MeanStd | None = None,
    device: torch.device | str = "cpu",
    progress: Progress,
) -> ZCA:
    """The whitening of training `images` [n, C, H, W] uint8, from `SATM_HOME` where it was fitted before.

    With Cov = Σ (x − μ)(x − μ)ᵀ / (n − 1) = U S Uᵀ over images flattened to D = C·H·W in 0..1:
    T = U (S + eps)^-1/2 Uᵀ and its inverse U (S + eps)^1/2 Uᵀ, in float64, kept in float32. With `unit`, KIP's own:
    U S Uᵀ = Σ u uᵀ / n over images of length 1 (`ZCA`), T = U (S + eps · tr S / D)^-1/2 Uᵀ, and where n < D the
    directions that no image has are left as they are. `fingerprint` names the data in the key. Takes D² · 8 bytes a few
    times over (D = 3072 at 32×32: 75 MB; 12288 at 64×64: 1.2 GB). Raises DataError on fewer than two images and
    SatmError where the result cannot be saved.

    Source: field notes §2.2 (MTT utils.py:137-165; kornia zca.py, whose SVD of Cov gives the same T);
    `ZCA`'s for `unit`.
    """
    count, channels, height, width = images.shape
    named: dict[str, Any] = {"data": fingerprint, "eps": eps, "version": _VERSION}
    key = digest(named if unit is None else {**named, "unit": unit.to_dict()})
    found = ZCA(key=key, eps=eps, shape=(channels, height, width), unit=unit)
    if ZCA.path(key).exists():
        _ = found.matrices  # a damaged file is reported here, not in the middle of training
        return found
    if count < 2:
        raise DataError(f"ZCA needs at least 2 training images, got {count}; go without it")
    progress.say(
        f"fitting ZCA whitening on {count} images of {channels}×{height}×{width} (once; kept in {ZCA.path(key)})"
    )
    # Only CUDA is sure to have float64.
    where = torch.device(device) if torch.device(device).type == "cuda" else torch.device("cpu")
    size = channels * height * width
    moment, kept = torch.zeros(size, size, dtype=torch.float64, device=where), {}
    if unit is None:
        kept["mean"] = images.flatten(1).sum(0, dtype=torch.int64).to(where).double() / (255 * count)
    length = 0.0
    for chunk in torch.split(images, _CHUNK):
        pixels = chunk.to(where).double() / 255
        if unit is None:
            vectors = pixels.flatten(1) - kept["mean"]
        else:
            normalised = unit(pixels)
            vectors = unit_vectors(normalised)
            length += float((normalised.flatten(1) * vectors).sum())
        moment.addmm_(vectors.T, vectors)
    values, directions = torch.linalg.eigh(moment / (count - 1 if unit is None else count))
    values = values.clamp(min=0)  # round-off can leave an eigenvalue a little below 0
    if unit is None:
        scale = (values + eps).sqrt()
    else:
        scale = (values + eps * values.mean()).sqrt()
        scale[: max(0, size - count)] = 1.0
        kept["length"] = torch.tensor(length / count)
    kept |= {"transform": (directions / scale) @ directions.T, "inverse": (directions * scale) @ directions.T}
    matrices = {name: value.float().cpu().contiguous() for name, value in kept.items()}
    fitted = replace(found, _matrices=matrices)
    fitted.save()
    return fitted
