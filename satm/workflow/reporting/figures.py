"""Turns charts into the figures of the report's web page, and writes their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from satm.report.charts import Chart, Lines
from satm.report.charts.drawing import drawn, svg, write
from satm.report.page import Figure

MANY = 3  # the largest number of a chart's lines that its description in text names; it only counts the others


@dataclass(slots=True)
class Easel:
    """Draws the figures of one report."""

    folder: Path | None = None  # every figure is also written to this folder, as SVG and PNG; None: no files
    drawn: list[str] = field(default_factory=list)  # the keys of the figures that are drawn so far

    def figure(self, chart: Chart) -> Figure:
        """Draw a chart and return it as a figure of the web page. Raises SatmError if its files cannot be written."""
        with drawn(chart) as (picture, hits):
            element = svg(picture, hits, chart.key)
            if self.folder is not None:
                write(picture, chart.key, self.folder)
        self.drawn.append(chart.key)
        return Figure(
            key=chart.key, title=chart.title, about=chart.about, alt=_alt(chart), svg=element, values=_values(chart)
        )


def _values(chart: Chart) -> tuple[tuple[str, ...], ...]:
    if isinstance(chart, Lines):
        lines = [(each.name, f"{point.x:g}", point.said) for each in chart.series for point in each.points]
        return (("series", chart.x_label, chart.y_label), *lines)
    cells = [
        (row, column, said)
        for row, texts in zip(chart.rows, chart.said, strict=True)
        for column, said in zip(chart.columns, texts, strict=True)
        if said
    ]
    return (("row", "column", "value"), *cells)


def _alt(chart: Chart) -> str:
    if isinstance(chart, Lines):
        ends = [f"{s.name} from {s.points[0].y:.3g} to {s.points[-1].y:.3g}" for s in chart.series[:MANY]]
        more = f", and {len(chart.series) - MANY} more" if len(chart.series) > MANY else ""
        about = f"{chart.y_label} over {chart.x_label}: {'; '.join(ends)}{more}"
    else:
        about = f"heat map of {len(chart.rows)} rows and {len(chart.columns)} columns"
    return f"{chart.title}. {about}. The arrow keys step through the values; a table below has them all."
