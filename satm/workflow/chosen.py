"""A preset with a seed and a data root, and its configuration file (`--print-config`, `--config`, `satm tune`)."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import RECIPES
from satm.errors import ConfigError
from satm.presets import ORDER, CondenseConfig, Preset

LARGEST = 2**20  # the largest size of a configuration file, in bytes


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A preset with a seed and a data root. `--print-config` writes it as a file, and `--config` reads this file."""

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
        """Read a configuration file. Raises a UsageError if `--print-config` cannot have written it."""
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
    """The text of a file. Raises ConfigError for a large file, and for a device or pipe, which might never end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not path.is_dir():
        raise ConfigError(f"--config {path} is no file; write one with --print-config")
    if found.st_size > LARGEST:
        raise ConfigError(f"--config {path} has {found.st_size:,} bytes; --print-config writes at most {LARGEST:,}")
    return path.read_text(encoding="utf-8")


def _check(path: Path, values: dict[str, Any], texts: list[Any]) -> None:
    """Raise ConfigError for values of a wrong type or unknown keys, and KeyError for missing values.

    `texts` are those values that must be strings.
    """
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
