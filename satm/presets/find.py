"""From a data set, an IPC, a method and a profile to the configuration that runs."""

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

    `row` names the row of hyper-parameters, as `cifar10/ipc10`. Without it the data set takes its own row at this IPC.
    If there is none, it takes its own row of the nearest IPC, or else the row of the nearest IPC of a set of the
    nearest image size. Each of these steps is a departure.

    `outer` names an outer rule to use in place of the method's own. `base` names the method that `mdc` extends, `mtt`
    by default; `mdc` takes its numbers, defaults and experts. `numbers` are those of every method, the published ones
    unless a test has others.

    Raises UnknownName for an unknown `row`, `profile`, `method`, `outer` or `base`. Raises ConfigError for an IPC below
    1, and for `outer` or `base` if the method or the base matches no trajectories.
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
    images = known.num_classes * ipc if known else None
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
        row=scaled(fitted, scale, images=images, borrowed=borrowed and row is None),
        row_ipc=ipc if row is None else printed.ipc,
        augment=known.augment if known else STRATEGY,
        departures=departures,
    )
    if entry.matches_trajectories:
        return matching_preset(choice)
    if outer is not None:
        raise _no_outer_loop(method, outer)
    return printed_preset(choice)


def _no_outer_loop(method: str, outer: str) -> ConfigError:
    taking = [name for name in METHODS.known() if METHODS.get(name).matches_trajectories]
    return ConfigError(
        f"--outer {outer}: method {method} has no outer loop of trajectories; leave it out, or take {', '.join(taking)}"
    )
