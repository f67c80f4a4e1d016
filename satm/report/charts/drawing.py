"""Draws a chart with matplotlib: as SVG for a web page that shows a text at each value, or as SVG and PNG files."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.home import write_bytes
from satm.printable import printable, width
from satm.report.charts.model import Chart, Heat, Lines, Series
from satm.report.charts.style import SETTINGS, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT = 72  # SVG units per inch
WIDE, PLOT = 5.2, 2.7  # in inches: the width of a figure, and the height of its axes
LEFT, RIGHT, BELOW, ABOVE, LINE = 0.75, 0.15, 0.55, 0.2, 0.19  # in inches: the margins, and the height of a text line
CELL = 0.44  # inches: the least width of a cell of a heat map
LABEL = 34  # the largest number of letters of a name beside a heat map; a longer name loses its middle
PNG_DPI = 200


@dataclass(frozen=True, slots=True)
class Hit:
    """A place of the picture at which a web page shows a text: a rectangle of the given size, or a circle without one.

    `x` and `y` are the centre of the place, and `size` is its width and height, all in SVG units. `said` is the text.
    """

    x: float
    y: float
    said: str
    size: tuple[float, float] | None = None


@contextmanager
def drawn(chart: Chart) -> Iterator[tuple[Figure, list[Hit]]]:
    """Yield the picture of `chart`, and a `Hit` for each value. Use both inside the `with` block only.

    After the block, the settings of matplotlib that the picture needs are no longer in force.
    """
    import matplotlib as mpl

    with mpl.rc_context({**SETTINGS, "svg.hashsalt": chart.key}), warnings.catch_warnings():
        # This warning says that a letter is missing in our fonts. The fonts of the page's reader may have it.
        warnings.filterwarnings("ignore", message="Glyph")
        yield _lines(chart) if isinstance(chart, Lines) else _heat(chart)


def svg(figure: Figure, hits: Sequence[Hit], key: str) -> str:
    """The picture as an `<svg>` element for a web page. Each hit is an element of the CSS class `hit` with its text.

    `key` is put in front of the ids in the picture, so that they differ from the ids in other pictures on the page.
    """
    text = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", _bytes(figure, "svg").decode(), flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    # Every picture has the same ids, such as axes_1. An id that the picture refers to gets `key` in front of it, and an
    # id that nothing refers to is removed.
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"(url\(|href=\")#", rf"\g<1>#{key}-", text)
    wide = figure.get_figwidth()
    # A wide picture gets a minimum width, so that a phone scrolls it sideways and does not shrink it.
    least = f' style="min-width: {wide * POINT:.0f}px"' if wide > WIDE else ""
    head = rf'<svg xmlns="http://www.w3.org/2000/svg" viewBox="\1"{least}>'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', head, text)
    return text.replace("</svg>", f'<g class="hits">{"".join(map(_element, hits))}</g></svg>')


def write(figure: Figure, key: str, folder: Path) -> None:
    """Write the files `key`.svg and `key`.png into `folder`. Raises SatmError if they cannot be written."""
    for form in ("svg", "png"):
        write_bytes(folder / f"{key}.{form}", _bytes(figure, form))


def _bytes(figure: Figure, form: str) -> bytes:
    file = io.BytesIO()
    dated = {"Date": None} if form == "svg" else {}
    figure.savefig(file, format=form, dpi=PNG_DPI if form == "png" else POINT, metadata=dated)
    return file.getvalue()


def _element(hit: Hit) -> str:
    said = f"<title>{html.escape(printable(hit.said))}</title>"
    if hit.size is None:
        return f'<circle class="hit" cx="{hit.x:.1f}" cy="{hit.y:.1f}" r="6">{said}</circle>'
    wide, high = hit.size
    place = f'x="{hit.x - wide / 2:.1f}" y="{hit.y - high / 2:.1f}" width="{wide:.1f}" height="{high:.1f}"'
    return f'<rect class="hit" {place}>{said}</rect>'


def _lines(chart: Lines) -> tuple[Figure, list[Hit]]:
    legend = len(chart.series) * LINE + 0.05
    figure, axes = _figure(BELOW + legend + PLOT + ABOVE, below=BELOW + legend)
    handles = [_line(axes, series, joined=chart.joined) for series in chart.series]
    _scale(axes, chart)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    figure.legend(
        handles,
        [short(series.name) for series in chart.series],
        loc="lower left",
        bbox_to_anchor=(LEFT / WIDE - 0.02, 0),
        borderaxespad=0.1,
        labelspacing=0.25,
        handlelength=3.4,
    )
    return figure, [hit for series in chart.series for hit in _hits(figure, axes, series)]


def _scale(axes: Axes, chart: Lines) -> None:
    """Set logarithmic axes, labelled with plain numbers, and mark only whole numbers on x if x counts something."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    x, y = ({getattr(p, name) for each in chart.series for p in each.points} for name in ("x", "y"))
    if chart.log_x and len(x) > 1:
        axes.set_xscale("log")
    if chart.log_y and len(y) > 1:
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            # An axis of up to two decades has few powers of ten, so two and five times each power are marked, too.
            axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0), numticks=9))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    if chart.whole_x and axes.get_xscale() != "log":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _line(axes: Axes, series: Series, *, joined: bool) -> Any:
    """Draw one series, and return its handle for the legend."""
    colour, marker, dashes = look(series.kin)
    x, y = [p.x for p in series.points], [p.y for p in series.points]
    many = len(x) > 12
    (line,) = axes.plot(
        x,
        y,
        color=colour,
        marker=marker,
        markersize=5,
        markevery=max(1, len(x) // 8),
        linestyle=dashes if joined else "none",
        linewidth=1.2 if many else 1.6,
    )
    band = [p for p in series.points if p.low is not None and p.high is not None]
    if band:
        x, y = [p.x for p in band], [p.y for p in band]
        low, high = [p.low or 0.0 for p in band], [p.high or 0.0 for p in band]
        if joined:
            axes.fill_between(x, low, high, color=colour, alpha=0.14, lw=0)
        if not many:
            down = [max(0.0, value - end) for value, end in zip(y, low, strict=True)]
            up = [max(0.0, end - value) for value, end in zip(y, high, strict=True)]
            axes.errorbar(x, y, yerr=(down, up), fmt="none", ecolor=colour, elinewidth=0.9, capsize=2)
    return line


def _hits(figure: Figure, axes: Axes, series: Series) -> Iterator[Hit]:
    high = figure.get_figheight() * POINT
    axes.get_xlim(), axes.get_ylim()  # matplotlib computes the final scales only when the limits are read
    for point in series.points:
        x, y = axes.transData.transform((point.x, point.y))
        yield Hit(float(x), high - float(y), f"{series.name}: {point.said}")


def _heat(chart: Heat) -> tuple[Figure, list[Hit]]:
    names, heads = [short(row, LABEL) for row in chart.rows], [short(column, 16) for column in chart.columns]
    left = 0.15 + 0.075 * max(map(width, names))
    above = 0.15 + 0.06 * max(map(width, heads))
    # A heading begins at the middle of its column and leans to the right, so the last one needs room beside the cells.
    right = max(RIGHT, 0.075 * width(heads[-1]) - CELL / 2)
    wide = max(WIDE, left + CELL * len(heads) + right)
    rows = 0.3 * len(names)
    figure, axes = _figure(rows + above + 0.1, below=0.1, left=left, right=right, above=above, wide=wide)
    axes.grid(visible=False)
    axes.set_xlim(0, len(heads))
    axes.set_ylim(len(names), 0)
    axes.set_xticks([k + 0.5 for k in range(len(heads))], heads, rotation=40, ha="left")
    axes.set_yticks([k + 0.5 for k in range(len(names))], names)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure, list(_cells(chart, figure, axes))


def _cells(chart: Heat, figure: Figure, axes: Axes) -> Iterator[Hit]:
    import matplotlib as mpl
    import numpy as np
    from matplotlib.patches import Rectangle

    values = np.array(chart.values, dtype=float)  # NaN for a missing value
    missing = np.isnan(values)
    known = values[~missing]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    shares = np.full_like(values, 0.5) if high == low else (values - low) / (high - low)
    # The lightness of cividis rises evenly, so it suits every kind of colour vision. One mesh is drawn faster than a
    # rectangle for each cell.
    axes.pcolormesh(mpl.colormaps["cividis"](shares), edgecolor="white", linewidth=1)
    for i, j in zip(*np.nonzero(missing), strict=True):
        axes.add_artist(Rectangle((j, i), 1, 1, facecolor="white", edgecolor="#bbbbbb", linewidth=0, hatch="///"))
    for i, row in enumerate(chart.values):
        for j, value in enumerate(row):
            if value is not None:
                colour = "black" if shares[i, j] > 0.55 else "white"
                axes.text(j + 0.5, i + 0.5, f"{100 * value:.1f}", ha="center", va="center", color=colour, fontsize=9)
            x, y = axes.transData.transform((j + 0.5, i + 0.5))
            corner = axes.transData.transform((j, i + 1))
            size = (2 * (float(x) - float(corner[0])), 2 * (float(y) - float(corner[1])))
            said = f"{chart.rows[i]}, {chart.columns[j]}: {chart.said[i][j]}"
            yield Hit(float(x), figure.get_figheight() * POINT - float(y), said, size)


def _figure(
    high: float,
    *,
    below: float,
    left: float = LEFT,
    right: float = RIGHT,
    above: float = ABOVE,
    wide: float = WIDE,
) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), dpi=POINT)
    place = (left / wide, below / high, 1 - (left + right) / wide, 1 - (below + above) / high)
    return figure, figure.add_axes(place)


def short(name: str, most: int = 62) -> str:
    """`name` with at most `most` letters. A longer name loses its middle."""
    name = printable(name)
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"
