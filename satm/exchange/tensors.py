"""Turns the values of a file into images, labels and a step size.

Every function raises DataError with the reason if a value does not fit. `what` is the value's name in that message.
"""

from __future__ import annotations

from typing import Any

import torch

from satm.errors import DataError
from satm.types import Images

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def as_tensor(value: Any, what: str) -> torch.Tensor:
    """Return `value` if it is a plain dense tensor on the CPU. Raises DataError for anything else."""
    if not isinstance(value, torch.Tensor):
        raise DataError(f"{what}: expected a tensor, found {type(value).__name__}")
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        raise DataError(f"{what}: expected a plain dense tensor, found {value.layout} on {value.device.type}")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise DataError(f"{what}: shape {list(value.shape)} says more than the file holds")
    return value.detach().resolve_conj().resolve_neg()


def as_images(value: Any, what: str) -> Images:
    """Return `value` as images [n, C, H, W], uint8 or float32. Raises DataError if it does not hold images."""
    images = as_tensor(value, what)
    if not images.is_floating_point() and images.dtype != torch.uint8:
        raise DataError(f"{what}: images are {spell(images.dtype)}; expected float or uint8")
    if images.ndim != 4 or not images.numel():
        raise DataError(f"{what}: images have shape {list(images.shape)}; expected [n, C, H, W] with at least one")
    if images.dtype == torch.uint8:
        return images.contiguous()
    images = images.float().contiguous()
    wrong = int((~torch.isfinite(images)).sum())
    if wrong:
        raise DataError(f"{what}: {wrong} of {images.numel()} image values are not finite")
    return images


def as_labels(value: Any, what: str, *, n: int) -> torch.Tensor:
    """Return `value` as labels of n images: classes [n] int64, or a matrix [n, K] float32.

    Raises DataError if `value` is anything else or not finite.
    """
    labels = as_tensor(value, what)
    if labels.ndim not in (1, 2) or len(labels) != n or not labels.numel():
        raise DataError(f"{what}: labels have shape {list(labels.shape)}; expected [{n}] or [{n}, classes]")
    if labels.dtype not in _INTEGERS and not labels.is_floating_point():
        raise DataError(f"{what}: labels are {spell(labels.dtype)}; expected whole numbers or float")
    if not torch.isfinite(labels.double()).all():
        raise DataError(f"{what}: labels are not finite")
    if labels.ndim == 2:
        labels = labels.float().contiguous()
        if not torch.isfinite(labels).all():
            raise DataError(f"{what}: labels are not finite in float32")
        return labels
    if labels.is_floating_point() and (labels.double().frac() != 0).any():
        raise DataError(f"{what}: labels are fractions in one dimension; expected classes, or [{n}, classes]")
    if labels.is_floating_point() and (labels.double().abs() > 2**31).any():
        raise DataError(f"{what}: labels reach {float(labels.double().abs().max()):g}; expected classes")
    return labels.to(torch.int64).contiguous()


def as_step_size(value: Any, what: str) -> float:
    """Return `value`, a number or a tensor with one number, as a float.

    Raises DataError unless it is a finite number above 0.
    """
    if isinstance(value, torch.Tensor):
        tensor = as_tensor(value, what)
        if tensor.numel() != 1 or tensor.is_complex() or tensor.dtype == torch.bool:
            raise DataError(f"{what}: a {spell(tensor.dtype)} tensor {list(tensor.shape)}; expected one number")
        value = tensor.double().item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{what}: the step size is a {type(value).__name__}; expected a number")
    if not abs(value) < 1e30 or value <= 0:  # the first part is true for NaN too
        raise DataError(f"{what}: the step size is {value:g}; expected a finite number above 0")
    return float(value)


def step_size_tensor(value: float) -> torch.Tensor:
    """Return a 0-dimensional tensor that holds `value` exactly.

    It is float32 if that is possible, as other projects write it, else float64.
    """
    single = torch.tensor(value, dtype=torch.float32)
    return single if single.double().item() == value else torch.tensor(value, dtype=torch.float64)


def spell(dtype: torch.dtype) -> str:
    """Return the name of a type without the prefix `torch.`, for example `float32`."""
    return str(dtype).removeprefix("torch.")
