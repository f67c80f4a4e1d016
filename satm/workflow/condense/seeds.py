"""Condenses one preset under several seeds: the sets form a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from registry import Group, Registry
from satm.errors import ConfigError
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.workflow.condense.judging import Judging
from satm.workflow.condense.run import CondensationResult, condense

MOST = 10_000  # the largest number of seeds in one range such as 0-4


def condense_seeds(
    preset: Preset,
    seeds: Sequence[int],
    *,
    share_experts: bool = False,
    device: str = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    fresh: bool = False,
    judging: Judging | None = None,
    log: Sequence[str] = (),
    progress: Progress = SILENT,
    on_set: Callable[[int, CondensationResult], None] = lambda seed, done: None,
) -> Group:
    """Condense `preset` once for each seed, one after another, and return the group of the sets.

    `on_set(seed, result)` is called after each set. By default the experts of a set are trained with the seed of the
    set, so that the spread between the sets includes the spread between experts. With `share_experts` every set uses
    the experts of the preset; then means and intervals are valid for these experts only. The same call again continues
    where an earlier call stopped. The other arguments are those of `condense`.

    Raises ConfigError if a seed is negative, if a seed is given twice, or if no seed is given. Raises the errors of
    `condense`.
    """
    check_seeds(seeds)
    made = []
    for seed in seeds:
        done = condense(
            preset if share_experts else with_expert_seed(preset, seed),
            seed=seed,
            device=device,
            registry=registry,
            data_root=data_root,
            fresh=fresh,
            judging=judging,
            log=log,
            progress=progress,
        )
        on_set(seed, done)
        made.append(done.record)
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return store.group_of(made)


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ConfigError if a seed is negative, if a seed is given twice, or if no seed is given."""
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds {', '.join(map(str, seeds)) or 'none'}: expected different whole numbers from 0")


def with_expert_seed(preset: Preset, seed: int) -> Preset:
    """Return `preset` with `seed` as the seed of its experts.

    This is not listed as a departure from the publication, because no publication fixes the seed of the experts.
    """
    config = preset.config
    return replace(preset, config=replace(config, experts=replace(config.experts, seed=seed)))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a text such as `0,1,2`, `0-4` or `0-2,7`, in the order in which they are written.

    Raises ConfigError for a text of another form, a seed that is there twice, and a range of more than 10,000 seeds.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigError(f"--seeds {text}: expected numbers such as 0,1,2 or a range such as 0-4")
        if int(last or first) - int(first) >= MOST:
            raise ConfigError(f"--seeds {text}: a range of more than {MOST:,} seeds; name fewer")
        found += range(int(first), int(last or first) + 1)
    if len(set(found)) < len(found):
        again = next(seed for seed in found if found.count(seed) > 1)
        raise ConfigError(f"--seeds {text}: seed {again} is there twice; name each seed once")
    return tuple(found)
