"""Continues a run that is stored under an earlier key: that of an older version, or of a registry that was merged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from registry import Registry
from satm.progress import SILENT, Progress
from satm.workflow.checkpoint import Checkpoint
from satm.workflow.housekeeping import run_files


def continue_former(store: Registry, facts: Mapping[str, Any], progress: Progress = SILENT) -> None:
    """Give the run of these facts its key of today, and its saved state too, if it is stored under another key.

    Keys of older versions hold the path of the registry. If the file lay elsewhere when such a run stopped, the run is
    not found; then a stopped condensation of the same configuration and seed is named. Raises SatmError if another
    process continues the run.
    """
    former = store.former_key(facts)
    if former is None:
        _say_lost(store, facts, progress)
        return
    key = store.run_key(facts)
    _take_state(former, key)  # the state first: if this is cut off in the middle, the run is still found
    store.rename_key(former, key)


def state_of(store: Registry, facts: Mapping[str, Any]) -> Checkpoint:
    """The saved state of these facts, for work that is not stored as a run. A state under an earlier key counts too."""
    key = store.run_key(facts)
    for former in store.former_keys(facts):
        if run_files(former) and not run_files(key):
            _take_state(former, key)
    return Checkpoint(key)


def _take_state(former: str, key: str) -> None:
    """Give all files of a saved state another key, except its lock.

    The registry whose UUID a key holds may still need its own, so its files get a second name. They never change: a new
    state is a new file.
    """
    with Checkpoint(former).held():
        for file in run_files(former):
            named = file.with_name(key + file.name.removeprefix(former))
            if "-" not in former:  # a key with the path of this file, of an older version
                os.replace(file, named)
                continue
            try:
                os.link(file, named)
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                shutil.copyfile(file, named)


def _say_lost(store: Registry, facts: Mapping[str, Any], progress: Progress) -> None:
    """Name the stopped runs of an older version that may be this one, but whose key was made at another path."""
    if "config" not in facts or store.find_run(store.run_key(facts)) is not None:
        return
    for run in store.runs(kind="condense", dataset=facts["config"]["dataset"]):
        older = run.host is None and run.status != "done"  # an older version stored no host
        if older and run.config["condense"] == facts["config"] and run.seed == facts["seed"]:
            progress.say(
                f"run {run.id} of the same configuration and seed cannot be continued: an older version of satm "
                "stopped it on other data, on another device, or while the registry lay at another path; starting over"
            )
