"""Condenses with the arguments that a run stored.

`resume` goes on with a stopped run. `rebuild` makes a stored set a second time and compares it with the stored set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from registry import Registry, RunRecord, SetRecord
from registry.provenance import environment
from satm.errors import ConfigError, RegistryError
from satm.exchange import Difference, differences
from satm.home import home, make_folder
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress
from satm.workflow.condense.recorded import Recorded
from satm.workflow.condense.run import CondensationResult, condense


def resume(
    run: RunRecord,
    *,
    registry: Path | str = "satm.db",
    device: str | None = None,
    data_root: Path | None = None,
    log: Sequence[str] = (),
    progress: Progress = SILENT,
) -> CondensationResult:
    """Go on with a stopped condensation, with the configuration that its run stored.

    `device` and `data_root` replace the stored ones if they are given. `log` is the argument `log` of `condense`.
    Raises ConfigError if the images of the data set have changed, or if the device is of another kind than the device
    of the run, because then the run cannot be continued.
    """
    recorded = Recorded.of(run)
    return condense(
        recorded.preset,
        seed=recorded.seed,
        device=device or recorded.device,
        registry=registry,
        data_root=data_root or recorded.data_root,
        start_from=recorded.start_from,
        parent=recorded.parent,
        continuing=run.id,
        judging=recorded.judging,
        log=log,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """The result of making a stored set a second time."""

    record: SetRecord  # the stored set
    id: str  # the id of the set that was made now
    differences: tuple[Difference, ...]  # the differences between the two sets; empty if they are equal bit for bit
    elsewhere: tuple[str, ...]  # one line for each difference of the two environments (software, CPU, threads, device)


def rebuild(
    reference: str,
    *,
    registry: Path | str = "satm.db",
    device: str | None = None,
    data_root: Path | None = None,
    anyway: bool = False,
    progress: Progress = SILENT,
) -> Rebuilt:
    """Make a stored set a second time with the arguments that its run stored, and compare the two sets.

    The registry does not change. The new set is kept in a registry of its own in `SATM_HOME/rebuilds` until the work is
    done, so the same call continues after a stop. Experts that are in `SATM_HOME` are used and not trained again.

    Raises RegistryError for a set that no stored condensation made, or that began at the saved state of another run,
    because that state is not stored. Raises ConfigError if software, CPU, threads or device differ from those of the
    run. With `anyway` this is no error, but then the two sets may differ in their bits.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        record, stored = store.find(reference), store.load(reference)
        if record.run_id is None:
            raise RegistryError(f"{record.name} has no run: how it was made is not stored")
        run = store.run(record.run_id)
        before = store.environment(run.environment_id).facts
    recorded = Recorded.of(run)
    if recorded.start_from is not None:
        raise RegistryError(f"{record.name} began at the saved state of run {recorded.start_from}, which is not stored")
    wanted = device or recorded.device
    elsewhere = tuple(_elsewhere(before, recorded, wanted))
    if elsewhere and not anyway:
        raise ConfigError(
            f"{record.name} was made elsewhere, so the bits may differ: {'; '.join(elsewhere)}; --anyway tries it"
        )
    place = home() / "rebuilds" / f"{record.id[:16]}.db"
    make_folder(place.parent)
    done = condense(
        recorded.preset,
        seed=recorded.seed,
        device=wanted,
        registry=place,
        data_root=data_root or recorded.data_root,
        judging=None if record.method == recorded.preset.config.set_method else recorded.judging,
        parent=next((each.removeprefix("set:") for each in record.parents if each.startswith("set:")), None),
        progress=progress,
    )
    made = [each for each in (done.record, *done.siblings) if each.method == record.method]
    with Registry.open(place, read_only=True) as store:
        again = store.load(made[0].id)
    for file in place.parent.glob(f"{place.name}*"):  # the registry, and files that SQLite keeps beside it
        file.unlink()
    return Rebuilt(record=record, id=again.id, differences=tuple(differences(stored, again)), elsewhere=elsewhere)


def _elsewhere(before: Mapping[str, Any], recorded: Recorded, device: str) -> list[str]:
    """Return one line for each difference between a run and this process: in software, machine, threads or device."""
    here = environment()
    found = [
        f"{name} {before.get(name)}, here {here[name]}"
        for name in ("python", "torch", "satm", "commit", "platform", "cpu")
        if before.get(name) != here[name]
    ]
    packages = before.get("packages", {})
    found += [
        f"{name} {packages.get(name)}, here {version}"
        for name, version in here["packages"].items()
        if packages.get(name) != version
    ]
    threads = torch.get_num_threads()
    if recorded.threads != threads:
        found.append(f"{recorded.threads or 'unknown'} threads, here {threads}")
    if resolve_device(device) != resolve_device(recorded.device):
        found.append(f"device {recorded.device}, here {device}")
    return found
