"""Measures the normalisation constants of images, for example of a folder that is not in the catalogue."""

from __future__ import annotations

import torch

from satm.preprocessing import MeanStd
from satm.types import Images


def measured_mean_std(images: Images) -> MeanStd:
    """Mean and population standard deviation of each channel, over all pixels of `images` [n, C, H, W] uint8.

    The images are taken as numbers in 0..1 (levels / 255), and so is the result.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        # A histogram of the 256 levels is exact and needs no float copy of the images.
        weight = torch.bincount(channel.flatten(), minlength=256).double()
        weight /= weight.sum()
        channel_mean = float(weight @ levels)
        mean.append(channel_mean)
        std.append(float(weight @ (levels - channel_mean) ** 2) ** 0.5)
    return MeanStd(mean=tuple(mean), std=tuple(std))
