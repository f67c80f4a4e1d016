"""Chooses a preset, from the options of a command (condense, experts, plan or tune) or from a configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.cli._options import parse_settings
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.chosen import Chosen


@dataclass(frozen=True, kw_only=True)
class CondenseOptions:
    """The arguments and options of a command that condenses. A value is None if the user has not given it."""

    dataset: str | None
    ipc: int | None
    method: str | None
    outer: str | None
    profile: str | None
    row: str | None  # the option --preset: the name of a row of hyper-parameters
    settings: list[str] | None  # the option --set: texts KEY=VALUE
    data_root: Path | None
    file: Path | None = None  # the option --config: a configuration file
    engine: str | None = None
    precision: str | None = None
    compilation: str | None = None
    seed: int | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that replace those of the preset, by name. Raises ConfigError if a --set has a wrong form."""
        shorthands = {"engine": self.engine, "precision": self.precision, "compile": self.compilation}
        given = {name: value for name, value in shorthands.items() if value is not None}
        return parse_settings(self.settings) | given

    def choose(self) -> Chosen:
        """Return the preset, the seed and the data root that the options or the configuration file choose.

        Beside a configuration file, --seed, --data-root, --set, --engine, --precision and --compilation may be given.
        They replace what the file says. DATASET and the other options may not be given, not even with the value that
        the file has.

        Raises ConfigError if neither a data set nor a file is given, or if one of the forbidden options is given beside
        a file. Raises DataError if the path of a data set is no folder. Raises UsageError, of which ConfigError is a
        subclass, for any other wrong value.
        """
        if self.file is not None:
            return self._from_file(self.file)
        if self.dataset is None:
            raise ConfigError("no data set given; name one as the first argument, such as digits")
        from satm import choose_preset
        from satm.data.lookup import split_path
        from satm.workflow.chosen import Chosen

        changes = self.changes
        name, root = split_path(self.dataset, self.data_root)
        preset = choose_preset(
            name,
            ipc=1 if self.ipc is None else self.ipc,
            method=self.method or "satm",
            outer=self.outer,
            profile=self.profile,
            preset=self.row,
            settings=changes,
            data_root=root,
        )
        return Chosen(preset=preset, seed=self.seed or 0, data_root=root)

    def _from_file(self, file: Path) -> Chosen:
        given = {"DATASET": self.dataset, "--ipc": self.ipc, "--method": self.method, "--outer": self.outer}
        given |= {"--profile": self.profile, "--preset": self.row}
        clash = [name for name, value in given.items() if value is not None]
        if clash:
            raise ConfigError(f"{', '.join(clash)} beside --config: the file says that already; change it with --set")
        from satm.workflow.choosing import with_settings
        from satm.workflow.chosen import Chosen

        stored = Chosen.read(file)

        return Chosen(
            preset=with_settings(stored.preset, self.changes),
            seed=stored.seed if self.seed is None else self.seed,
            data_root=self.data_root or stored.data_root,
        )
