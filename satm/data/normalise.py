"""Measures normalisation constants (mean and standard deviation) on images, for data sets outside the catalogue."""

from __future__ import annotations

import torch

from satm.preprocessing import MeanStd
from satm.types import Images


def measured_mean_std(images: Images) -> MeanStd:
    """The mean and population standard deviation of each channel, over all pixels of `images` [n, C, H, W] uint8.

    Pixels are divided by 255 first, so the results are for images in 0..1.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        # The histogram of the 256 levels gives exact results, and no float copy of the images is needed.
        weight = torch.bincount(channel.flatten(), minlength=256).double()
        weight /= weight.sum()
        channel_mean = float(weight @ levels)
        mean.append(channel_mean)
        std.append(float(weight @ (levels - channel_mean) ** 2) ** 0.5)
    return MeanStd(mean=tuple(mean), std=tuple(std))
