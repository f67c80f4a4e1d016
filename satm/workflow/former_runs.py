"""Finds runs that are stored under an earlier key, and gives them and their saved states their present key.

The key of a run is a hash of the facts that decide the run and of the UUID of the registry. In a run of an older
version of satm, the path of the registry takes the place of the UUID. A run that came from another registry, by a merge
or because this file is a copy, has the UUID of the other registry in its key.
"""

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
    """If the run of these facts is stored under an earlier key, give the run and its saved state their present key.

    `facts` decide the run: its configuration, seed, data and so on. A run of an older version may not be found, because
    its key contains the path that the registry file had when the run stopped. If no run is found, a message names the
    stopped condensations of older versions with the same configuration and seed. Raises SatmError if another process
    works on the run.
    """
    former = store.former_key(facts)
    if former is None:
        _say_lost(store, facts, progress)
        return
    key = store.run_key(facts)
    # The state is moved first. If the process is killed before the key changes, the run is still found the next time.
    _take_state(former, key)
    store.rename_key(former, key)


def state_of(store: Registry, facts: Mapping[str, Any]) -> Checkpoint:
    """Return the saved state of these facts, for work that is not stored as a run.

    If there is a state only under an earlier key, it is given the present key.
    """
    key = store.run_key(facts)
    for former in store.former_keys(facts):
        if run_files(former) and not run_files(key):
            _take_state(former, key)
    return Checkpoint(key)


def _take_state(former: str, key: str) -> None:
    """Give all files of the saved state with the key `former`, except its lock file, names with the key `key`.

    If the key `former` has the UUID of another registry, that registry may still need the files. The files then keep
    their first name and get a second name (a hard link). This is safe, because a saved file is never changed: a new
    state is written as a new file.
    """
    with Checkpoint(former).held():
        for file in run_files(former):
            named = file.with_name(key + file.name.removeprefix(former))
            if "-" not in former:  # a key of an older version, made from the path of this registry: no other needs it
                os.replace(file, named)
                continue
            try:
                os.link(file, named)
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                shutil.copyfile(file, named)


def _say_lost(store: Registry, facts: Mapping[str, Any], progress: Progress) -> None:
    """Show a message for each stopped run of an older version that may be this run but cannot be found by its key."""
    if "config" not in facts or store.find_run(store.run_key(facts)) is not None:
        return
    for run in store.runs(kind="condense", dataset=facts["config"]["dataset"]):
        older = run.host is None and run.status != "done"  # older versions of satm did not store the host of a run
        if older and run.config["condense"] == facts["config"] and run.seed == facts["seed"]:
            progress.say(
                f"run {run.id} of the same configuration and seed cannot be continued: an older version of satm "
                "stopped it on other data, on another device, or while the registry lay at another path; starting over"
            )
