"""Fitting the ZCA whitening that `satm.preprocessing.ZCA` applies."""

from __future__ import annotations

import torch

from satm.errors import DataError
from satm.preprocessing import ZCA
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
    device: torch.device | str = "cpu",
    progress: Progress,
) -> ZCA:
    """The whitening of training `images` [n, C, H, W] uint8, from `SATM_HOME` where it was fitted before.

    With Cov = Σ (x − μ)(x − μ)ᵀ / (n − 1) = U S Uᵀ over images flattened to D = C·H·W in 0..1:
    T = U (S + eps)^-1/2 Uᵀ and its inverse U (S + eps)^1/2 Uᵀ, in float64, kept in float32.
    `fingerprint` names the data in the key. Takes D² · 8 bytes a few times over (D = 3072 at 32×32: 75 MB; 12288 at
    64×64: 1.2 GB). Raises DataError on fewer than two images and SatmError where the result cannot be saved.

    Source: field notes §2.2 (MTT utils.py:137-165; kornia zca.py, whose SVD of Cov gives the same T).
    """
    count, channels, height, width = images.shape
    key = digest({"data": fingerprint, "eps": eps, "version": _VERSION})
    found = ZCA(key=key, eps=eps, shape=(channels, height, width))
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
    mean = images.flatten(1).sum(0, dtype=torch.int64).to(where).double() / (255 * count)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=where)
    for chunk in torch.split(images.flatten(1), _CHUNK):
        centred = chunk.to(where).double() / 255 - mean
        covariance.addmm_(centred.T, centred)
    values, vectors = torch.linalg.eigh(covariance / (count - 1))
    scale = (values.clamp(min=0) + eps).sqrt()  # round-off can leave an eigenvalue a little below 0
    matrices = {
        "mean": mean,
        "transform": (vectors / scale) @ vectors.T,
        "inverse": (vectors * scale) @ vectors.T,
    }
    fitted = ZCA(
        key=key, eps=eps, shape=found.shape, _matrices={k: v.float().cpu().contiguous() for k, v in matrices.items()}
    )
    fitted.save()
    return fitted
