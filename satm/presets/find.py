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
    """The preset for a data set of `image_size` pixels a side.

    `row` names the row of hyper-parameters, such as `cifar10/ipc10`. If it is None, the first of these rows is taken:

    1. the data set's row at this IPC;
    2. the data set's row at the nearest IPC;
    3. of the data sets with the nearest image size, the row at the nearest IPC.

    The second and the third are departures. `outer` names an outer rule that replaces the method's own. `base` names
    the method that `mdc` extends, `mtt` by default: `mdc` takes the numbers, defaults and experts of that method. A
    method that extends no other ignores `base`. `numbers` are those of every method, the published ones unless a test
    gives others.

    Raises UnknownName for an unknown `row`, `profile`, `method`, `outer` or `base`. Raises ConfigError for an IPC below
    1, for `outer` if the method differentiates no inner loop, and for a `base` that matches no trajectories.
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
