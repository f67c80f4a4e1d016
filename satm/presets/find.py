"""Finds the preset for a data set, an IPC, a method and a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from satm.augment import STRATEGY
from satm.data.catalogue import spec_of
from satm.errors import ConfigError
from satm.methods import METHODS
from satm.networks import convnet_depth
from satm.presets._types import Numbers, Preset
from satm.presets.choice import Choice
from satm.presets.matching import matching_preset
from satm.presets.numbers import NUMBERS
from satm.presets.printed import printed_preset
from satm.presets.profiles import get_profile
from satm.presets.rows import all_rows, choose_row
from satm.presets.scale import scaled


def find_preset(
    dataset: str,
    ipc: int,
    *,
    method: str = "satm",
    outer: str | None = None,
    profile: str = "paper",
    image_size: int = 32,
    row: str | None = None,
    base: str | None = None,
    numbers: Mapping[str, Numbers] = NUMBERS,
) -> Preset:
    """The preset for the data set `dataset`, with images of `image_size` pixels a side and `ipc` images per class.

    A preset uses a row of hyper-parameters of the method or, if the profile has `shared_rows`, of SATM. `row` is the
    name of this row, such as `cifar10/ipc10`. If `row` is None, the first row of this list that exists is used:

    1. the row of the data set for this IPC;
    2. the row of the data set for the nearest IPC;
    3. the row of another data set: one with the nearest image size, and among these the row for the nearest IPC.

    If the second or the third case is used, the preset says so as a departure.

    `outer` is the name of an outer rule that replaces the method's default. `base` is the name of the method that the
    method `mdc` extends, `mtt` by default: `mdc` uses the numbers, defaults and experts of this method. Methods that
    extend no other method ignore `base`. `numbers` are the published numbers of every method. Tests can replace them.

    Raises UnknownName for an unknown `row`, `profile`, `method`, `outer` or `base`. Raises ConfigError if `ipc` is
    below 1, if `outer` is given for a method that differentiates no inner loop, or if `base` matches no trajectories.
    """
    scale, entry = get_profile(profile), METHODS.get(method)
    if ipc < 1:
        raise ConfigError(f"ipc {ipc}: expected at least 1 image per class")
    extended = entry if entry.base is None else METHODS.get(base or entry.base)
    rows = all_rows("satm" if scale.shared_rows else extended.name, numbers)
    printed, departures = choose_row(rows, dataset, ipc, image_size=image_size, named=row)
    known = spec_of(dataset)
    borrowed = printed.dataset != dataset
    fitted = replace(printed, image_size=image_size, depth=convnet_depth(image_size)) if borrowed else printed
    synthetic_images = known.num_classes * ipc if known else None
    choice = Choice(
        method=entry,
        base=extended,
        numbers=numbers,
        dataset=dataset,
        ipc=ipc,
        classes=known.num_classes if known else None,
        outer=outer,
        scale=scale,
        printed=printed,
        row=scaled(fitted, scale, images=synthetic_images, borrowed=borrowed and row is None),
        row_ipc=ipc if row is None else printed.ipc,
        augment=known.augment if known else STRATEGY,
        departures=departures,
    )
    if entry.matches_trajectories:
        return matching_preset(choice)
    if outer is not None and not entry.unrolls:
        raise _no_outer_loop(method, outer)
    return printed_preset(choice)


def _no_outer_loop(method: str, outer: str) -> ConfigError:
    taking = [name for name in METHODS.known() if METHODS.get(name).unrolls]
    return ConfigError(
        f"--outer {outer}: method {method} has no outer loop around an inner one; leave it out, or take "
        + ", ".join(taking)
    )
