"""From the options of `satm condense`, `satm experts` and `satm plan`, or a configuration file, to a preset."""

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
    """What the user asked for: the options of a command that condenses. None: the option was not given."""

    dataset: str | None
    ipc: int | None
    method: str | None
    outer: str | None
    profile: str | None
    row: str | None  # --preset
    settings: list[str] | None  # --set
    data_root: Path | None
    file: Path | None = None  # --config
    engine: str | None = None
    precision: str | None = None
    compilation: str | None = None
    seed: int | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Settings to replace, by name. Raises ConfigError."""
        shorthands = {"engine": self.engine, "precision": self.precision, "compile": self.compilation}
        given = {name: value for name, value in shorthands.items() if value is not None}
        return parse_settings(self.settings) | given

    def choose(self) -> Chosen:
        """The preset, seed and data root that the options or the file ask for. Raises UsageError."""
        if self.file is not None:
            return self._from_file(self.file)
        if self.dataset is None:
            raise ConfigError("no data set given; name one, as in: satm condense digits --ipc 1")
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
