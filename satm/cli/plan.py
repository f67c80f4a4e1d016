"""`satm plan`: predicts the time and memory of a condensation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._choosing import CondenseOptions
from satm.cli._names import Command
from satm.cli._output import say
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.condense.plan import Plan

# For each unit of a size, its number of bytes
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


MemorySize = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Say whether this much memory, for example 4GB, is enough, or which window fits into it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="plan", cls=Command)(plan)


def plan(
    dataset: option.Dataset = None,
    ipc: option.Ipc = None,
    method: option.MethodName = None,
    outer: option.OuterName = None,
    profile: option.ProfileName = None,
    preset: option.RowName = None,
    settings: option.Settings = None,
    engine: option.EngineName = None,
    precision: option.PrecisionName = None,
    compilation: option.CompilationName = None,
    memory: MemorySize = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    config: option.ConfigFile = None,
) -> None:
    """Predict the time and memory of a condensation by timing a few outer steps of it.

    The options that choose the configuration are those of satm condense. If the registry has finished runs of the same
    configuration on the same device, their time and memory are printed too. Example: satm plan cifar10 --ipc 10
    --memory 4GB
    """
    available = None if memory is None else parse_size(memory)
    chosen = CondenseOptions(
        dataset=dataset,
        ipc=ipc,
        method=method,
        outer=outer,
        profile=profile,
        row=preset,
        settings=settings,
        engine=engine,
        precision=precision,
        compilation=compilation,
        data_root=data_root,
        file=config,
    ).choose()

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        found = satm.plan(
            chosen.preset,
            device=device,
            memory=available,
            registry=registry,
            data_root=chosen.data_root,
            progress=progress,
        )
    for line in _lines(found, available):
        say(line)


def parse_size(text: str) -> float:
    """Return the number of bytes that a text such as `4GB` or `500 MB` means. Raises ConfigError for a wrong text."""
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    try:
        size = float(number) * UNITS[unit]
    except (KeyError, ValueError):
        size = 0.0
    if not 0 < size < float("inf"):
        raise ConfigError(f"--memory {text}: expected a size, as in --memory 4GB")
    return size


def _lines(plan: Plan, available: float | None) -> list[str]:
    # Returns the printed lines of a prediction. `available` is the value of --memory in bytes; None if it is not given.
    from satm.progress import spell_seconds

    loop = "" if plan.inner_steps is None else f" (N {plan.inner_steps}, window {plan.window})"
    steps = f"{plan.outer_steps} outer steps{loop} of {plan.step_seconds:.3g} s"
    lines = [f"{plan.preset.name}, profile {plan.preset.profile}, {plan.engine}", steps]
    if plan.warning:
        lines.append(plan.warning)
    if plan.expert_epochs:
        lines.append(f"{plan.expert_epochs} expert epochs of {spell_seconds(plan.epoch_seconds)} first")
    lines.append(
        f"in all about {spell_seconds(plan.seconds)} (this plan took {spell_seconds(plan.calibration_seconds)})"
    )
    if plan.peak_bytes is None or plan.loaded_bytes is None:
        lines.append("memory: this system does not report it")
    else:
        peak, total = _size(plan.peak_bytes), _size(plan.loaded_bytes + plan.peak_bytes)
        lines.append(f"peak memory {peak} above the loaded process, {total} in all")
    if available is not None and plan.inner_steps is None and None not in (plan.peak_bytes, plan.loaded_bytes):
        needed = (plan.loaded_bytes or 0) + (plan.peak_bytes or 0)
        less = (
            "it fits"
            if needed <= available
            else "it does not fit: lower batch_real or the IPC, or take a smaller network"
        )
        lines.append(f"{_size(available)} of memory: {less}")
    if available is not None and plan.largest_window is not None:
        fits = f"{plan.largest_window} of {plan.inner_steps} steps" if plan.largest_window else "none, not of one step"
        lines.append(f"largest window that fits {_size(available)}: {fits}")
    for one in plan.measured:
        memory = ""
        if one.peak_bytes is not None and plan.peak_bytes is not None:
            memory = f", peak {_size(one.peak_bytes)} ({_off(plan.peak_bytes, one.peak_bytes)})"
        seconds = f"{one.step_seconds:.3g} s an outer step ({_off(plan.step_seconds, one.step_seconds)})"
        lines.append(f"measured, {one.name}: {seconds}{memory}")
    return lines


def _off(predicted: float, measured: float) -> str:
    # Returns how far a prediction is from the measured number, as a text such as `predicted +12%`.
    return f"predicted {100 * (predicted / measured - 1):+.0f}%" if measured else "nothing to compare with"


def _size(amount: float) -> str:
    # Returns the text of a number of bytes, in MB or GB.
    return f"{amount / 1e9:.2f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
