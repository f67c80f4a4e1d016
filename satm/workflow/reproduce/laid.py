"""Lays out a study: finds the preset of every cell, and the reason if a cell cannot be made on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.base import PROTOCOLS
from satm.config import to_dict
from satm.data.catalogue import spec_of
from satm.data.lookup import at_hand, find, split_path
from satm.errors import ConfigError, DataError, SatmError
from satm.presets import Preset
from satm.progress import SILENT, Progress
from satm.studies import Cell, Study
from satm.workflow.choosing import choose_preset, default_profile, with_settings
from satm.workflow.chosen import Chosen
from satm.workflow.condense.seeds import with_expert_seed
from satm.workflow.reproduce.only import Only, lets_through


@dataclass(frozen=True, kw_only=True)
class Laid:
    """A cell of a study with its preset, or with the reason why it cannot be made on this machine."""

    study: Study
    cell: Cell
    preset: Preset | None  # its experts have seed 0; None: the data set or a file that the preset needs is missing
    obstacle: str = ""  # the reason why its sets can be neither made nor judged on this machine; "" if they can
    too_large: str = ""  # the reason why new sets cannot be made on this machine; stored sets can still be judged

    def seeded(self, seed: int) -> Preset:
        """The preset of the condensation with this seed: its experts get the same seed."""
        assert self.preset is not None
        return with_expert_seed(self.preset, seed)


def lay_out(
    study: Study,
    *,
    profile: str | None = None,
    seeds: int | None = None,
    data_root: Path | None = None,
    progress: Progress = SILENT,
    download: Only | None = None,
) -> tuple[Laid, ...]:
    """Find the preset of every cell of the study.

    Args:
        profile: the scale of the presets; None: the default profile of this machine.
        seeds: the number of condensations of each cell; None: the number in the study.
        download: filters of cells. The data sets of the cells that they let through are downloaded now, if they are
            missing and can be downloaded. None: nothing is downloaded.

    Raises ConfigError if the preset of a cell cannot be made, for example because the cell's method does not have one
    of the settings, and if a stream has a protocol that learns from no set, or a teacher's labels that its protocol
    cannot use. The message says which study and which cell, arm or evaluation is wrong.
    """
    for name, judged in study.evaluations.items():
        if judged.incremental and "condensed" not in PROTOCOLS.get(judged.protocol).memories:
            raise ConfigError(
                f"{study.name}: evaluations.{name}: protocol {judged.protocol} does not learn from a condensed set, so "
                "it cannot judge one; take another, such as gdumb"
            )
        if judged.labels == "teacher" and judged.incremental and not PROTOCOLS.get(judged.protocol).trains_by_recipe:
            raise ConfigError(
                f"{study.name}: evaluations.{name}: labels teacher: protocol {judged.protocol} trains in a loop of its "
                "own, on the labels of its images; leave labels out, or take gdumb"
            )
    profile = profile or default_profile()
    cells = study.cells(seeds=seeds)
    wanted = {each.condition.dataset for each in cells if download is not None and lets_through(download, each)}
    obstacles: dict[str, str] = {}
    found = []
    for cell in cells:
        dataset = cell.condition.dataset
        if dataset not in obstacles:
            obstacles[dataset] = _missing(dataset, data_root, progress, download=dataset in wanted)
        preset, missing = _preset(study, cell, cell.condition.profile or profile, data_root, obstacles[dataset])
        found.append(Laid(study=study, cell=cell, preset=preset, obstacle=missing or obstacles[dataset]))
    return tuple(found)


def _missing(dataset: str, data_root: Path | None, progress: Progress, *, download: bool) -> str:
    """The reason why the data set cannot be read on this machine.

    It is "" if the data set can be read, or if a later step of the work can download it.
    """
    spec = spec_of(dataset)
    if spec is not None and spec.embedded:
        return ""
    try:
        if data_root is None and (at_hand(dataset, None) or (spec is not None and spec.torchvision and not download)):
            return ""
        find(dataset, data_root, progress)
    except DataError as error:
        return str(error)
    return ""


def _preset(study: Study, cell: Cell, profile: str, data_root: Path | None, missing: str) -> tuple[Preset | None, str]:
    """The pair (preset of the cell, ""), or the pair (None, the reason why there is no preset yet).

    `missing` is the reason why the data set cannot be read; "" if it can.
    """
    arm = cell.arm
    if missing and spec_of(cell.condition.dataset) is None:
        return None, missing
    settings = dict(cell.settings)
    try:
        if arm.config is None:
            return _kept(_chosen(cell, profile, settings, data_root), arm.keep), ""
        file = Path(study.folder) / arm.config.format(
            dataset=cell.condition.dataset, ipc=cell.condition.ipc, arm=cell.name
        )
        if not file.exists():
            return None, f"{file} is not there: `satm tune` and `satm condense --print-config` write such a file"
        tuned = Chosen.read(file).preset
        if not arm.take:
            _check_file(file, tuned, cell, profile)
            return _kept(with_settings(tuned, settings), arm.keep), ""
        taken = {f"settings.{name}": value for name, value in _taken(file, tuned, arm.take).items()}
        return _kept(_chosen(cell, profile, {**taken, **settings}, data_root), arm.keep), ""
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{study.name}: arms.{cell.name}: config {arm.config!r}: unknown part {error}") from error
    except SatmError as error:
        raise ConfigError(f"{study.name}: {cell}: {error}") from error


def _chosen(cell: Cell, profile: str, settings: dict[str, Any], data_root: Path | None) -> Preset:
    name, root = split_path(cell.condition.dataset, data_root)
    return choose_preset(
        name,
        ipc=cell.condition.ipc,
        method=cell.arm.method,
        outer=cell.arm.outer,
        profile=profile,
        settings=settings,
        data_root=root,
    )


def _kept(preset: Preset, keep: int | None) -> Preset:
    """`preset` with a window of int(N/keep) of the N inner steps, at least 1; unchanged if `keep` is None."""
    if keep is None:
        return preset
    return with_settings(preset, {"settings.window": max(1, preset.config.settings.inner_steps // keep)})


def _check_file(file: Path, tuned: Preset, cell: Cell, profile: str | None) -> None:
    config = tuned.config
    if profile is not None and tuned.profile not in (profile, "custom"):
        raise ConfigError(f"{file} is of profile {tuned.profile}; arms of one study need one scale: tune at {profile}")
    wanted = (cell.condition.dataset, cell.condition.ipc, cell.arm.method)
    if (config.dataset, config.ipc, config.method) != wanted:
        there = f"{config.dataset} IPC {config.ipc} by {config.method}"
        raise ConfigError(
            f"{file} is of {there}; expected {cell.condition.dataset} IPC {cell.condition.ipc} by {wanted[2]}"
        )


def _taken(file: Path, tuned: Preset, names: Sequence[str]) -> dict[str, Any]:
    settings = to_dict(tuned.config.settings, whole=True)
    for name in names:
        if name not in settings:
            raise ConfigError(f"{file}: method {tuned.config.method} has no setting {name}, which take names")
    return {name: settings[name] for name in names}
