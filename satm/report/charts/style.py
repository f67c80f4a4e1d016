"""How the series of a chart look. They differ in colour, marker and dashes, so no reader needs the colour."""

from __future__ import annotations

from typing import Any, NamedTuple

# Okabe and Ito's colours without the yellow, which is hard to see on white. All common kinds of colour vision can tell
# these colours apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)))


class Look(NamedTuple):
    """The colour, marker and dashes of a series."""

    colour: str
    marker: str
    dashes: Any


def look(number: int) -> Look:
    """The look of the series whose `kin` is `number`, counted from 0. The first 280 looks all differ."""
    return Look(COLOURS[number % 7], MARKERS[number % 8], DASHES[number % 5])


SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text in the SVG, so it can be read aloud, selected and found
    "text.parse_math": False,  # a name may hold a dollar sign, which must not begin a formula
}
"""The settings of matplotlib under which every chart is drawn."""
