"""Options that several commands share, and functions that convert their texts to values."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.fan_out import Place

RegistryPath: TypeAlias = Annotated[Path, typer.Option("--registry", envvar="SATM_REGISTRY", help="The registry file.")]
DataRoot: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data-root", help="Look for data sets in this folder only (default: in SATM_DATA, then elsewhere)."),
]
Device: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Threads: TypeAlias = Annotated[int | None, typer.Option(min=1, help="CPU threads (default: one for each core).")]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Work in N processes of this machine at once. --threads is for each (default: all cores divided by N).",
    ),
]
RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on a Ray cluster: HOST:PORT, ray://HOST:PORT, or without ADDRESS the one of this machine.",
    ),
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and stop.")]
CompilationName: TypeAlias = Annotated[
    str | None,
    typer.Option("--compilation", help="How networks are trained: auto (default), compiled or eager."),
]
Grid: TypeAlias = Annotated[Path | None, typer.Option("--grid", help="Write the images as a grid to this PNG file.")]

# Options of the commands that condense (condense, experts, plan, tune).
# When the help is shown, _names.py replaces `{methods}` and other words in braces by the names in a table.
Dataset: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="DATASET", help="A data set: {datasets}, or the path of a folder of images.")
]
Ipc: TypeAlias = Annotated[int | None, typer.Option("--ipc", help="Images per class (default: 1).")]
MethodName: TypeAlias = Annotated[
    str | None, typer.Option("--method", help="The condensation method (default: satm): {methods}.")
]
OuterName: TypeAlias = Annotated[
    str | None, typer.Option("--outer", help="The outer optimiser (default: the method's own): {outer}.")
]
ProfileName: TypeAlias = Annotated[
    str | None,
    typer.Option("--profile", help="The scale: paper, cpu or smoke (default: paper with a CUDA device, else cpu)."),
]
RowName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="ROW", help="Take the hyper-parameters of another row, for example cifar10/ipc10."
    ),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace one setting, for example outer_steps=100. Repeatable."),
]
EngineName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="How inner loops are differentiated: auto, higher (the reference), prefer-higher (the reference if memory "
        "allows), replay or tesla.",
    ),
]
PrecisionName: TypeAlias = Annotated[
    str | None, typer.Option("--precision", help="Number format of the inner steps: float32 or bf16.")
]
ConfigFile: TypeAlias = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Read the configuration that --print-config printed.")
]

Log: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="NAME[:PROJECT]",
        help="Also send metrics, images and settings to a tool: {loggers}. Repeatable.",
    ),
]

# Options of the commands that evaluate: eval, eval-arch and eval-cl. Not every option belongs to all three.
SetReference: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="A set: its name, like digits/ipc1/satm@1 (without @1: the newest), the start of its id, or latest.",
    ),
]
RecipeName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="How networks are trained (default: as stored with the set; at profile paper as its method's): {recipes}.",
    ),
]
RatePolicy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--learning-rate",
        metavar="RATE",
        help="learned (the α of the set), grid (chosen by five networks on the validation split), both (one beside the "
        "other), or a number.",
    ),
]
SavePredictions: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--save-predictions/--no-save-predictions",
        help="Store the class that each network gives each test image, a byte each (default: if there are fewer "
        "than 20,000 test images).",
    ),
]
Baseline: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="random: also evaluate equally many real images, drawn at random anew for each repeat.",
    ),
]
Prefix: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--prefix", min=1, help="Take only the first images of each class. Sets of method mdc are made for this."
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="teacher: a network trained on the real images labels every batch; own: the set's own labels (default: as "
        "the recipe says).",
    ),
]
TeacherName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="ARCH",
        help="The teacher's architecture (default: the set's own, with batch norm in place of instance norm).",
    ),
]
Temperature: TypeAlias = Annotated[
    float | None,
    typer.Option("--temperature", metavar="T", help="Temperature of the teacher's labels (default: 20)."),
]
Repeats: TypeAlias = Annotated[
    int | None, typer.Option("--repeats", min=1, help="Networks for each architecture (default: the recipe's).")
]

# Arguments and options that choose which sets, runs or results of the registry a command shows.
OnlySet: TypeAlias = Annotated[str | None, typer.Argument(metavar="SET", help="Only this set.")]
OnlyDataset: TypeAlias = Annotated[str | None, typer.Option("--dataset", help="Only sets of this data set.")]
OnlyMethod: TypeAlias = Annotated[str | None, typer.Option("--method", help="Only sets of this method.")]
OnlyIpc: TypeAlias = Annotated[int | None, typer.Option("--ipc", help="Only sets of this many images per class.")]

DEFAULT_REGISTRY = Path("satm.db")


AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Everything that is stored, as JSON.")]


class Format(StrEnum):
    """The format in which rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


class Pivot(StrEnum):
    """The property of results whose values become the columns of a pivot table."""

    ARCHITECTURE = "architecture"
    METHOD = "method"
    IPC = "ipc"
    STEP = "step"


FormatOption: TypeAlias = Annotated[Format, typer.Option("--format", help="How rows are printed.")]


def parse_place(workers: int | None, ray: str | None) -> Place | None:
    """Return the place where the work runs, from --workers or --ray; None: in this process.

    Raises ConfigError if both options are given. With --ray, it is also raised if Ray is not installed, or if an
    address is given and no program listens there.
    """
    if workers is not None and ray is not None:
        raise ConfigError(f"--workers {workers} beside --ray: they are two places; give one of them")
    if workers is None and ray is None:
        return None
    from satm.workflow.fan_out import LocalWorkers, RayCluster

    if workers is not None:
        return LocalWorkers(workers)
    cluster = RayCluster(ray or "auto")
    cluster.check()
    return cluster


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Return `key=value` pairs as a dictionary. A value that is valid JSON is read as JSON, any other value as text.

    Raises ConfigError for a pair without a key or without =.
    """
    settings = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set {pair}: expected KEY=VALUE, for example --set outer_steps=100")
        try:
            settings[key.strip()] = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            settings[key.strip()] = text
    return settings


def parse_logs(texts: list[str] | None) -> tuple[str, ...]:
    """Return the texts of --log, after they were checked.

    Raises the errors of `satm.loggers.parse`, so that a wrong text is found before the work starts.
    """
    if texts:
        from satm.loggers import parse

        parse(texts)
    return tuple(texts or ())


def one_of(option: str, text: str | None, *values: str) -> Any:
    """Return `text`, which must be None or one of `values`. Raises ConfigError for any other text."""
    if text is not None and text not in values:
        expected = f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0]
        raise ConfigError(f"{option} {text}: expected {expected}")
    return text


def parse_compilation(text: str | None) -> Any:
    """Return the value of --compilation; "auto" if the option is not given. Raises ConfigError for a wrong value."""
    return one_of("--compilation", text, "auto", "compiled", "eager") or "auto"


def parse_rate(text: str | None) -> Any:
    """Return the value of --learning-rate: "learned", "grid", "both" or a number; None if the option is not given.

    Raises ConfigError for any other value.
    """
    if text is None or text in ("learned", "grid", "both"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--learning-rate {text}: expected learned, grid, both or a number") from None


def parse_labels(labels: str | None, teacher: str | None, temperature: float | None) -> Any:
    """Return where the labels come from, as the argument `labels` of `satm.evaluate`; None if no option is given.

    If a teacher or a temperature is given, the labels come from a teacher. Raises ConfigError if `labels` is given and
    is neither "teacher" nor "own", or if a teacher or a temperature is given and `labels` is "own".
    """
    found = one_of("--labels", labels, "teacher", "own")
    if teacher is None and temperature is None:
        return found
    if found == "own":
        given = f"--teacher {teacher}" if teacher is not None else f"--temperature {temperature:g}"
        raise ConfigError(f"{given} beside --labels own, the set's own labels; leave one of them out")

    from satm.workflow.teachers import ByTeacher

    return ByTeacher(architecture=teacher, temperature=temperature)
