"""`satm plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli._options import DEFAULT_REGISTRY, CompilationName, DataRoot, Device, RegistryPath, Threads
from satm.cli.condense import (
    ConfigFile,
    Dataset,
    EngineName,
    Ipc,
    MethodName,
    OuterName,
    PrecisionName,
    ProfileName,
    Row,
    Settings,
    choose,
)
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.condense.plan import Plan

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="plan")(plan)


def plan(
    dataset: Dataset = None,
    ipc: Ipc = None,
    method: MethodName = None,
    outer: OuterName = None,
    profile: ProfileName = None,
    preset: Row = None,
    settings: Settings = None,
    engine: EngineName = None,
    precision: PrecisionName = None,
    compilation: CompilationName = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="Say which window fits this much, as 4GB.", metavar="SIZE")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    config: ConfigFile = None,
) -> None:
    """Predict the time and memory of a condensation by timing a few short outer steps of it.

    Takes the options of satm condense. Where the same configuration has run, what it took stands beside the prediction.
    Example: satm plan cifar10 --ipc 10 --memory 4GB
    """
    available = None if memory is None else parse_size(memory)
    chosen, root, _ = choose(
        dataset, ipc, method, outer, profile, preset, settings, data_root, config, engine, precision, compilation
    )

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        found = satm.plan(chosen, device=device, memory=available, registry=registry, data_root=root, progress=progress)
    for line in _lines(found, available):
        typer.echo(line)


def parse_size(text: str) -> float:
    """Bytes of `4GB`, `500 MB`; raises ConfigError."""
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    try:
        size = float(number) * UNITS[unit]
    except (KeyError, ValueError):
        size = 0.0
    if not 0 < size < float("inf"):
        raise ConfigError(f"--memory {text}: expected a size, as in --memory 4GB")
    return size


def _lines(plan: Plan, available: float | None) -> list[str]:
    from satm.progress import spell_seconds

    steps = f"{plan.outer_steps} outer steps (N {plan.inner_steps}, window {plan.window}) of {plan.step_seconds:.3g} s"
    lines = [f"{plan.preset.name}, profile {plan.preset.profile}, {plan.engine}", steps]
    if plan.expert_epochs:
        lines.append(f"{plan.expert_epochs} expert epochs of {spell_seconds(plan.epoch_seconds)} first")
    lines.append(
        f"in all about {spell_seconds(plan.seconds)} (this plan took {spell_seconds(plan.calibration_seconds)})"
    )
    if plan.peak_bytes is None or plan.loaded_bytes is None:
        lines.append("memory: cannot be told on this system")
    else:
        peak, total = _size(plan.peak_bytes), _size(plan.loaded_bytes + plan.peak_bytes)
        lines.append(f"peak memory {peak} above the loaded process, {total} in all")
    if available is not None and plan.largest_window is not None:
        fits = f"{plan.largest_window} of {plan.inner_steps} steps" if plan.largest_window else "none, not of one step"
        lines.append(f"largest window that fits {_size(available)}: {fits}")
    for one in plan.measured:
        memory = ""
        if one.peak_bytes is not None and plan.peak_bytes is not None:
            memory = f", peak {_size(one.peak_bytes)} (predicted {_off(plan.peak_bytes, one.peak_bytes)})"
        seconds = f"{one.step_seconds:.3g} s an outer step (predicted {_off(plan.step_seconds, one.step_seconds)})"
        lines.append(f"measured, {one.name}: {seconds}{memory}")
    return lines


def _off(predicted: float, measured: float) -> str:
    return f"{100 * (predicted / measured - 1):+.0f}%" if measured else "where nothing was measured"


def _size(amount: float) -> str:
    return f"{amount / 1e9:.2f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
