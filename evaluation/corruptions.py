"""Common corruptions of small test images, such as noise and blur, at five severities (Hendrycks and Dietterich 2019).

The strengths are those of CIFAR-10-C (`ImageNet-C/create_c/make_cifar_c.py` of hendrycks/robustness at ca36008), which
are made for 32 × 32 pixels. This file has 9 of the 19 corruptions of CIFAR-10-C, and computes them with torch,
torchvision and PIL alone. Ten are missing: glass, motion, zoom and defocus blur, snow, frost, fog, spatter, elastic
distortion and saturation. So a mean over the corruptions of this file must not be called "mCE", the mean corruption
error of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from torch.nn import functional as F

from satm.errors import ConfigError
from satm.rng import Seed
from satm.types import Images

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 8  # the smallest allowed side of an image, in pixels; the widest blur reaches 4 pixels to each side
CHUNK = 2048  # the number of images that are corrupted at once

Corrupt = Callable[[Images, float, torch.Generator], Images]
"""A function (images [n, C, H, W] in 0..1, strength, generator of random draws) → corrupted images.

The values of the corrupted images may be below 0 or above 1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One kind of corruption."""

    name: str
    strengths: tuple[float, float, float, float, float]  # the strength at each of the severities 1 to 5
    apply: Corrupt

    def __call__(self, images: Images, severity: int, seed: Seed) -> Images:
        """Corrupt images [n, C, H, W] uint8 at a severity from 1 to 5, and return them as uint8.

        The random draws depend only on `seed`, the corruption and the severity. Raises ConfigError for any other
        severity, and for images that `check_size` does not accept.
        """
        if severity not in SEVERITIES:
            raise ConfigError(f"severity {severity}: expected 1, 2, 3, 4 or 5")
        check_size(images.shape[-3:])
        draws = seed.child("corruption", self.name, severity).generator()
        strength = self.strengths[severity - 1]
        return torch.cat([_bytes(self.apply(part.float() / 255, strength, draws)) for part in images.split(CHUNK)])


def check_size(image_shape: Sequence[int]) -> None:
    """Raise ConfigError for images of shape (C, H, W) with a side below 8 pixels, or with neither 1 nor 3 channels."""
    channels, height, width = image_shape
    if min(height, width) < SMALLEST or channels not in (1, 3):
        raise ConfigError(
            f"images of {channels} channels and {height}×{width} pixels: corruptions need 1 or 3 channels and "
            f"{SMALLEST}×{SMALLEST} pixels or more; use another data set or image_size"
        )


def _bytes(x: Images) -> Images:
    return (x.clamp(0, 1) * 255).to(torch.uint8)  # rounds down, as CIFAR-10-C does


# The functions below are of the type `Corrupt`: x are the images, c is the strength. What c means differs from function
# to function. In some of them, such as `_shot_noise`, a smaller c is a stronger corruption.


def _gaussian_noise(x: Images, c: float, draws: torch.Generator) -> Images:
    return x + c * torch.randn(x.shape, generator=draws)


def _shot_noise(x: Images, c: float, draws: torch.Generator) -> Images:
    return torch.poisson(x * c, generator=draws) / c


def _impulse_noise(x: Images, c: float, draws: torch.Generator) -> Images:
    hit = torch.rand(x.shape, generator=draws) < c
    return torch.where(hit, (torch.rand(x.shape, generator=draws) < 0.5).float(), x)


def _speckle_noise(x: Images, c: float, draws: torch.Generator) -> Images:
    return x + c * x * torch.randn(x.shape, generator=draws)


def _gaussian_blur(x: Images, c: float, draws: torch.Generator) -> Images:
    from torchvision.transforms.v2.functional import gaussian_blur

    # c is the standard deviation of the Gaussian in pixels. Its kernel ends at four standard deviations.
    blurred: Images = gaussian_blur(x, [2 * int(4 * c + 0.5) + 1] * 2, [c, c])
    return blurred


def _brightness(x: Images, c: float, draws: torch.Generator) -> Images:
    """Add c to the value V of the HSV colours, V = max(R, G, B).

    Hue and saturation do not change, so all three channels are multiplied by the same factor. Black becomes grey.
    """
    value = x.amax(dim=1, keepdim=True)
    raised = (value + c).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-12), raised)


def _contrast(x: Images, c: float, draws: torch.Generator) -> Images:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * c + mean


def _pixelate(x: Images, c: float, draws: torch.Generator) -> Images:
    height, width = x.shape[-2:]
    small = F.interpolate(x, size=(int(height * c), int(width * c)), mode="area")
    return F.interpolate(small, size=(height, width), mode="area")


def _jpeg_compression(x: Images, c: float, draws: torch.Generator) -> Images:
    from PIL import Image

    pixels, made = (x * 255).round().byte().permute(0, 2, 3, 1).numpy(), []
    for each in pixels:
        file = BytesIO()
        Image.fromarray(each.squeeze()).save(file, "JPEG", quality=int(c))  # images of one channel are saved as grey
        made.append(np.asarray(Image.open(file)).reshape(each.shape))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


CORRUPTIONS: Mapping[str, Corruption] = {
    each.name: each
    for each in (
        Corruption(name="gaussian_noise", strengths=(0.04, 0.06, 0.08, 0.09, 0.10), apply=_gaussian_noise),
        Corruption(name="shot_noise", strengths=(500, 250, 100, 75, 50), apply=_shot_noise),
        Corruption(name="impulse_noise", strengths=(0.01, 0.02, 0.03, 0.05, 0.07), apply=_impulse_noise),
        Corruption(name="speckle_noise", strengths=(0.06, 0.10, 0.12, 0.16, 0.20), apply=_speckle_noise),
        Corruption(name="gaussian_blur", strengths=(0.4, 0.6, 0.7, 0.8, 1.0), apply=_gaussian_blur),
        Corruption(name="brightness", strengths=(0.05, 0.10, 0.15, 0.20, 0.30), apply=_brightness),
        Corruption(name="contrast", strengths=(0.75, 0.50, 0.40, 0.30, 0.15), apply=_contrast),
        Corruption(name="pixelate", strengths=(0.95, 0.90, 0.85, 0.75, 0.65), apply=_pixelate),
        Corruption(name="jpeg_compression", strengths=(80, 65, 58, 50, 40), apply=_jpeg_compression),
    )
}
