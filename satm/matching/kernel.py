"""Kernel ridge regression from synthetic to real images (FRePo, Zhou et al. 2022; KIP, Nguyen et al. 2021)."""

from __future__ import annotations

import torch

from satm.errors import Diverged


def ridge_prediction(synthetic: torch.Tensor, targets: torch.Tensor, real: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return the predictions [b, K] for b real images of the linear regression that is fitted to n synthetic images:

        K_ts (K_ss + λ I)^{-1} Y_s,   λ = ridge · tr(K_ss)/n

    `synthetic` [n, D] are the features S of the synthetic images, `targets` [n, K] are their targets Y_s, and `real`
    [b, D] are the features T of the real images. The kernels are inner products of features: K_ss = S Sᵀ and
    K_ts = T Sᵀ. λ is given as a share of the mean eigenvalue of K_ss, so features that are all c times as large give
    the same predictions.

    The kernels are computed and solved in double precision: with a small `ridge`, the condition number of K_ss + λ I
    can be near n/`ridge`, which is too large for single precision. The result has the dtype of `real`. Raises
    Diverged if K_ss + λ I is not positive definite, which happens if features are not finite or all 0.

    Source: `nfr` in lib/datadistillation/frepo.py of yongchao97/FRePo at 9b98c65.
    """
    s, t = synthetic.double(), real.double()
    inner = s @ s.T
    share = ridge * inner.trace() / len(s)
    factor, failed = torch.linalg.cholesky_ex(inner + share * torch.eye(len(s), dtype=s.dtype, device=s.device))
    if failed:
        raise Diverged(f"the kernel of {len(s)} synthetic images is not positive definite at ridge {ridge:g}")
    return (t @ s.T @ torch.cholesky_solve(targets.double(), factor)).to(real.dtype)


def ridge_loss(
    synthetic: torch.Tensor, targets: torch.Tensor, real: torch.Tensor, wanted: torch.Tensor, ridge: float
) -> torch.Tensor:
    """Return mean_i ½ ‖y_i − p_i‖² over the b real images, 0-dimensional.

    p_i are the predictions of `ridge_prediction`, and y_i the rows of `wanted` [b, K], the targets of the real images.
    """
    return (ridge_prediction(synthetic, targets, real, ridge) - wanted).square().sum(dim=1).mean() / 2


def label_margin(targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over the rows y of `targets` [n, K] of min(largest − second largest entry of y, 1/K).

    FRePo raises this margin, so that each learned label keeps one clear class. A margin above 1/K counts as 1/K and has
    no derivative. Source: `lb_margin_th` in lib/datadistillation/frepo.py of yongchao97/FRePo at 9b98c65.
    """
    largest = targets.topk(2, dim=1).values
    return (largest[:, 0] - largest[:, 1]).clamp(max=1 / targets.shape[1]).mean()
