"""Checks an imported set whose file was exported by satm: such a file describes the set completely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from satm.data.lookup import split_path
from satm.errors import ConfigError, DataError
from satm.exchange import Claims
from satm.preprocessing import MeanStd
from satm.presets import ORDER
from satm.synthetic import SyntheticSet
from satm.workflow.evaluate.prepared import set_config


def check_described(whole: SyntheticSet, claims: Claims, data_root: Path | None) -> None:
    """Check the description of the set `whole` and compare it with what the user states about it (the claims).

    Raises DataError if an evaluation cannot use the description, and ConfigError if a claim contradicts it.
    """
    if claims.index is not None:
        raise ConfigError(f"the file holds one set, not several to choose number {claims.index} of; leave --index out")
    if claims.dataset is not None:
        claims = replace(claims, dataset=split_path(claims.dataset, data_root)[0])
    if whole.profile not in ORDER:
        raise DataError(f"its profile is {whole.profile}; expected one of {', '.join(ORDER)}")
    try:
        config = set_config(whole)
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise DataError(f"its configuration is damaged ({error!r:.120}); export the set again") from error
    if (config.dataset, config.ipc) != (whole.dataset, whole.ipc):
        raise DataError(f"its configuration is for {config.dataset} at IPC {config.ipc}, not {whole.dataset}")
    claims.check(_says(whole, config.architecture))


def _says(whole: SyntheticSet, architecture: str) -> dict[str, Any]:
    """Return the facts in the description of the set. The keys are the field names of `Claims`."""
    space = whole.preprocessing
    constants = (space.mean, space.std) if isinstance(space, MeanStd) else (None, None)
    pixels = isinstance(space, MeanStd) and not any(space.mean) and set(space.std) == {1.0}
    return {
        "dataset": whole.dataset,
        "ipc": whole.ipc,
        "method": whole.method,
        "labels": whole.label_kind,
        "step_size": whole.step_size,
        "preprocessing": "none" if pixels else space.kind,
        "mean": constants[0],
        "std": constants[1],
        "architecture": architecture,
    }
