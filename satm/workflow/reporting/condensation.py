"""The section of the report with the measurements of condensations, as curves over the outer steps.

The curves are the loss, the validation accuracy, the hypergradient's norm and the sharpness (as in the paper's Figure
2), the step size, and its derivative (Figure 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from registry import RunRecord
from satm.report.charts import Lines, Series, thinned
from satm.report.page import Figure, Section
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import LINES, Material, left_out, panels

POINTS = 40  # the largest number of points of a line


class Trace(NamedTuple):
    """A run whose measurements are drawn."""

    name: str  # how the legend names it: by its set, or by the run itself if the run has no set yet
    run: RunRecord


class Curve(NamedTuple):
    """What a chart shows over the outer steps: one metric, or several metrics in one chart."""

    key: str
    title: str
    label: str  # the text at the vertical axis
    about: str
    metrics: tuple[tuple[str, str], ...]  # pairs (metric, name of its line); the name is "" if there is only one metric
    log: bool = False  # whether the vertical axis is logarithmic, if all values are positive


CURVES = (
    Curve(
        "loss",
        "Loss",
        "matching loss",
        "The method's own loss; different methods have different ones.",
        (("loss", ""),),
        True,
    ),
    Curve(
        "validation",
        "Validation accuracy",
        "validation accuracy",
        "On the validation split during the condensation; a fraction.",
        (("validation_accuracy", ""),),
    ),
    Curve(
        "hypergradient",
        "Norm of the hypergradient",
        "‖∂F/∂φ‖",
        "As in the paper's Figure 2.",
        (("hypergradient_norm", ""),),
        True,
    ),
    Curve(
        "sharpness",
        "Sharpness",
        "L(φ + ε) − L(φ)",
        "As in the paper's Figure 2: without noise, every diagnostics_every outer steps.",
        (("sharpness", ""),),
    ),
    Curve("step-size", "Step size", "α", "The learned step size.", (("step_size", ""),)),
    Curve(
        "step-size-derivative",
        "Derivative of the step size",
        "∂F/∂α",
        "As in the paper's Figure 3: by Eq. 10 (first order) and exactly (second order).",
        (("step_size_derivative", "first order"), ("step_size_derivative_exact", "second order")),
    ),
)


def section(material: Material, easel: Easel) -> Section:
    """The section: a group of figures for each data set, IPC and profile."""
    chosen, more = panels(list(_traces(material)), _key, most=3)
    figures = [
        figure for n, (key, found) in enumerate(chosen, 1) for figure in _figures(n, key, found, material, easel)
    ]
    return Section(
        key="condensation",
        title="Condensation",
        about="Measurements of the runs over their outer steps; one line is one run (n = 1), runs of one method "
        f"have one colour. A line has at most {POINTS} points: each is the mean of equally many neighbouring steps, "
        "and the band is their range.",
        blocks=tuple(figures),
        missing="No measurement of a condensation is stored here. satm condense stores them; imported sets have none.",
        left_out=left_out(more, "groups of figures"),
    )


def _traces(material: Material) -> Iterator[Trace]:
    """The condensation runs that made the sets of the report, the newest first.

    If the report is about all sets, the condensation runs that have no set yet are included.
    """
    made = {each.run_id: each for each in material.sets if each.run_id is not None}
    for run in reversed(material.runs.values()):
        if run.kind == "condense" and run.id in made:
            yield Trace(f"{made[run.id].name} (seed {run.seed})", run)
        elif run.kind == "condense" and run.set_id is None and not material.references:
            yield Trace(f"{run.method} run {run.id[:8]} ({run.status}, seed {run.seed})", run)


def _key(trace: Trace) -> tuple[Any, ...]:
    return (trace.run.dataset, trace.run.ipc, trace.run.profile)


def _figures(
    number: int, key: tuple[Any, ...], traces: list[Trace], material: Material, easel: Easel
) -> Iterator[Figure]:
    dataset, ipc, profile = key
    methods = list(dict.fromkeys(trace.run.method for trace in traces))
    for curve in CURVES:
        most = LINES // len(curve.metrics)
        chosen = _spread(traces, most)
        # `kin` numbers the colours and markers: lines of one method and one metric look the same.
        series = [
            each
            for trace in chosen
            for position, (metric, label) in enumerate(curve.metrics)
            for kin in [methods.index(trace.run.method) + len(methods) * position]
            if (each := _series(trace, metric, label, kin, material))
        ]
        if series:
            more = f" {len(chosen)} of {len(traces)} runs are drawn." if len(traces) > len(chosen) else ""
            yield easel.figure(
                Lines(
                    key=f"{curve.key}-{number}",
                    title=f"{curve.title}: {dataset}, IPC {ipc}, profile {profile}",
                    about=curve.about + more,
                    x_label="outer step",
                    y_label=curve.label,
                    series=tuple(series),
                    log_y=curve.log and all(point.y > 0 for each in series for point in each.points),
                    whole_x=True,
                )
            )


def _spread(traces: list[Trace], most: int) -> list[Trace]:
    """At most `most` of the runs, taken in turn from each method, so that every method is shown."""
    methods: dict[str | None, list[Trace]] = {}
    for trace in traces:
        methods.setdefault(trace.run.method, []).append(trace)
    turns = [trace for turn in zip_longest(*methods.values()) for trace in turn if trace is not None]
    return sorted(turns[:most], key=traces.index)


def _series(trace: Trace, metric: str, label: str, kin: int, material: Material) -> Series | None:
    values = material.store.curve(trace.run.id, metric)
    name = f"{trace.name}, {label}" if label else trace.name

    def said(x: float, y: float, count: int) -> str:
        return f"step {x:g}, {y:.4g}" + (f", mean of {count} steps" if count > 1 else "")

    return Series(name=name, points=thinned(values, POINTS, said), kin=kin) if values else None
