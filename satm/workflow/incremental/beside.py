"""Finds the set beside which the results of an online protocol are stored, if the user named a data set."""

from __future__ import annotations

from pathlib import Path

from protocols.buffer import check_buffer
from registry import Registry
from satm.data.catalogue import spec_of
from satm.data.lookup import places
from satm.errors import RegistryError, UnknownName
from satm.progress import Progress
from satm.workflow.choosing import choose_preset
from satm.workflow.condense.run import condense
from satm.workflow.incremental.request import IncrementalRequest

IPC = 10
"""The images of each class if neither `--buffer` nor a published comparison says how many. SSD has as many."""


def beside_set(
    reference: str,
    request: IncrementalRequest,
    *,
    device: str,
    registry: Path | str,
    data_root: Path | None,
    dry_run: bool,
    progress: Progress,
) -> str:
    """Return the name of a set for `reference`, which may be the name of a data set if the protocol is online.

    Every result in the registry belongs to a set, which says the data set, the preprocessing and the network. An online
    protocol learns from no set. If the user names a data set, a set of random real images of the same size is drawn
    (method `random`, default profile), unless it is stored already, and the results are stored beside it. Any other
    reference is returned unchanged, also that of a protocol that is not online.

    Raises RegistryError for a dry run if the set is not stored yet, and the errors of `condense`.
    """
    if not request.entry.online or not _is_data_set(reference, data_root):
        return reference
    ipc = _ipc(reference, request)
    if dry_run:
        return _stored(reference, ipc, registry)
    preset = choose_preset(reference, ipc=ipc, method="random", data_root=data_root)
    made = condense(preset, device=device, registry=registry, data_root=data_root, progress=progress)
    progress.say(f"results are stored beside {made.record.name}, random real images that are not used")
    return made.record.name


def _is_data_set(name: str, data_root: Path | None) -> bool:
    if "/" in name or "@" in name or name == "latest":
        return False  # a set
    try:
        places(name, data_root)
    except UnknownName:
        return False
    return True


def _ipc(dataset: str, request: IncrementalRequest) -> int:
    """As many images of each class as the memory has: M // K, if M is given and the number K of classes is known.

    Raises ConfigError if M is less than one image for each class, before a set is drawn.
    """
    spec = spec_of(dataset)
    if request.capacity is not None and spec is not None:
        check_buffer(request.capacity, spec.num_classes)
        return request.capacity // spec.num_classes
    return IPC


def _stored(dataset: str, ipc: int, registry: Path | str) -> str:
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        found = store.sets(dataset=dataset, method="random", ipc=ipc)
    if not found:
        raise RegistryError(
            f"no set of {dataset} at IPC {ipc} is stored beside which results could be; a dry run draws none: leave "
            f"--dry-run out, or draw it first (satm condense {dataset} --ipc {ipc} --method random)"
        )
    return found[-1].name
