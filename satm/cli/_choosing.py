"""From the options of `satm condense`, `satm experts` and `satm plan`, or a configuration file, to a preset."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.cli._options import parse_settings
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.presets import Preset


LARGEST = 2**20  # bytes of a configuration


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A preset with its seed and data root: what is condensed, and what --print-config writes and --config reads."""

    preset: Preset
    seed: int
    data_root: Path | None

    def to_json(self) -> str:
        """The text of a configuration file."""
        preset = self.preset
        values = {
            "preset": preset.name,
            "profile": preset.profile,
            "source": preset.source,
            "departures": list(preset.departures),
            "seed": self.seed,
            "data_root": None if self.data_root is None else str(self.data_root),
            "config": preset.config.to_dict(),
        }
        return json.dumps(values, indent=2)

    @classmethod
    def read(cls, path: Path) -> Chosen:
        """The configuration in a file. Raises ConfigError if --print-config cannot have written it."""
        from evaluation import RECIPES
        from satm.presets import CondenseConfig, Preset

        try:
            values = json.loads(_text_of(path))
            texts = [values["preset"], values["source"], *values["departures"]]
            config = CondenseConfig.from_dict(values["config"])
            _check(path, values, texts)
        except OSError as error:
            raise ConfigError(f"--config {path}: {error.strerror}; write one with --print-config") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"--config {path} is no text in UTF-8; expected what --print-config writes") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"--config {path} is not what --print-config writes: {_reason(error)}") from error
        RECIPES.get(config.recipe)
        preset = Preset(
            name=texts[0],
            profile=values["profile"],
            source=texts[1],
            departures=tuple(values["departures"]),
            config=config,
        )
        root = values["data_root"]
        return cls(preset=preset, seed=values["seed"], data_root=None if root is None else Path(root))


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _text_of(path: Path) -> str:
    """The text of the file. Raises ConfigError for a device or pipe, which may never end, and for a large file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not path.is_dir():
        raise ConfigError(f"--config {path} is no file; write one with --print-config")
    if found.st_size > LARGEST:
        raise ConfigError(f"--config {path} has {found.st_size:,} bytes; --print-config writes at most {LARGEST:,}")
    return path.read_text(encoding="utf-8")


def _check(path: Path, values: dict[str, Any], texts: list[Any]) -> None:
    """Raise ConfigError for values of the wrong kind, KeyError for missing ones."""
    from satm.presets import ORDER

    seed, root, profile = values["seed"], values["data_root"], values["profile"]
    known = {"preset", "profile", "source", "departures", "seed", "data_root", "config"}
    unknown = sorted(values.keys() - known)
    wrong = (
        unknown
        or type(seed) is not int
        or seed < 0
        or profile not in ORDER
        or not all(isinstance(text, str) for text in texts)
        or not isinstance(values["departures"], list)
        or not isinstance(root, str | None)
    )
    if wrong:
        raise ConfigError(
            f"--config {path}: profile {profile!r}, seed {seed!r}, data_root {root!r} or unknown keys {unknown}; "
            "expected what --print-config writes"
        )


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
        stored = Chosen.read(file)
        from satm.workflow.choosing import with_settings

        return Chosen(
            preset=with_settings(stored.preset, self.changes),
            seed=stored.seed if self.seed is None else self.seed,
            data_root=self.data_root or stored.data_root,
        )
