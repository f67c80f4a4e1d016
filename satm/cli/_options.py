"""Options that several commands share."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from satm.errors import ConfigError

RegistryPath: TypeAlias = Annotated[
    Path, typer.Option("--registry", envvar="SATM_REGISTRY", help="The registry file.", show_default=True)
]
DataRoot: TypeAlias = Annotated[
    Path | None, typer.Option("--data-root", help="Look for data sets here and nowhere else (default: SATM_DATA).")
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Threads: TypeAlias = Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all cores).")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")]
SetReference: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="[SET]", help="digits/ipc1/satm@1, without @1 the newest, a unique id prefix, or latest."),
]
RecipeName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="How networks are trained: mtt, dm, datm, dd-ranking, prabhu2020, cpu, smoke "
        "(default: that of the set's profile).",
    ),
]
StepSize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--learning-rate", help="learned, grid (chosen on the validation split), or a number.", metavar="RATE"
    ),
]
CompilationName: TypeAlias = Annotated[
    str | None,
    typer.Option("--compilation", help="auto (default), compiled or eager: how the training of networks is run."),
]
Baseline: TypeAlias = Annotated[
    str | None,
    typer.Option("--baseline", help="random: as many real images, drawn afresh each repeat, under the same recipe."),
]
Prefix: TypeAlias = Annotated[
    int | None,
    typer.Option("--prefix", min=1, help="Only the first so many images of each class (a smaller set of MDC's)."),
]
Repeats: TypeAlias = Annotated[int | None, typer.Option("--repeats", min=1, help="Networks per architecture.")]

DEFAULT_REGISTRY = Path("satm.db")


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


FormatOption: TypeAlias = Annotated[Format, typer.Option("--format", help="How to print.")]


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs, each value JSON where it parses and text where it does not; raises ConfigError."""
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, as in --set outer_steps=100")
        try:
            settings[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            settings[key.strip()] = text
    return settings


def parse_compilation(text: str | None) -> Any:
    """How training is run, as the library takes it; raises ConfigError."""
    if text not in (None, "auto", "compiled", "eager"):
        raise ConfigError(f"--compilation {text}: expected auto, compiled or eager")
    return text or "auto"


def check_baseline(text: str | None) -> None:
    """Raise ConfigError for a baseline that is none."""
    if text not in (None, "random"):
        raise ConfigError(f"--baseline {text}: expected random")


def parse_rate(text: str | None) -> Any:
    """A learning-rate policy as the library takes it; raises ConfigError."""
    if text is None or text in ("learned", "grid"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--learning-rate {text}: expected learned, grid or a number") from None
