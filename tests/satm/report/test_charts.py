"""Charts: every value has a place and a text, no series needs its colour, and names are text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from satm.report.charts import Chart, Heat, Lines, Point, Series, thinned
from satm.report.charts.drawing import POINT, drawn, svg
from satm.report.charts.style import COLOURS, look

NAMES = ("satm", "<b>&", "$x$ _ 数字", "_hidden")
LINES = Lines(
    key="k",
    title="t",
    about="a",
    x_label="step",
    y_label="accuracy (%)",
    series=tuple(
        Series(
            name=name,
            points=tuple(Point(x=x, y=x + kin, low=x + kin - 1, high=x + kin + 1, said=f"n = {x}") for x in (1, 2, 4)),
            kin=kin,
        )
        for kin, name in enumerate(NAMES)
    ),
)
HEAT = Heat(
    key="h",
    title="t",
    about="a",
    rows=("one", "two"),
    columns=("x", "y"),
    values=((0.1, None), (0.2, 0.3)),
    said=(("10 %", "no result"), ("20 %", "30 %")),
)


def drawing(chart: Chart) -> str:
    with drawn(chart) as (figure, hits):
        return svg(figure, hits, chart.key)


@pytest.mark.parametrize(("chart", "count"), [(LINES, 12), (HEAT, 4)])
def test_every_value_has_a_place_with_its_text(chart: Chart, count: int) -> None:
    root = ET.fromstring(drawing(chart))
    hits = [each for each in root.iter() if each.get("class") == "hit"]
    assert len(hits) == count
    assert all((each[0].tag.endswith("title") and each[0].text) for each in hits)
    wide, high = map(float, (root.get("viewBox") or "").split()[2:])
    for each in hits:
        x, y = float(each.get("cx") or each.get("x") or -1), float(each.get("cy") or each.get("y") or -1)
        assert 0 < x < wide
        assert 0 < y < high


def test_the_places_are_where_the_values_are() -> None:
    with drawn(LINES) as (figure, hits):
        (axes,) = figure.axes
        for hit, point in zip(hits, (p for each in LINES.series for p in each.points), strict=True):
            x, y = axes.transData.inverted().transform((hit.x, figure.get_figheight() * POINT - hit.y))
            assert (x, y) == pytest.approx((point.x, point.y))


def test_names_are_text_in_the_picture_and_in_its_legend() -> None:
    text = drawing(LINES)
    root = ET.fromstring(text)
    words = "".join(root.itertext())
    for name in NAMES:
        assert words.count(name) >= 4  # the legend and three values
    assert "<b>" not in text


@pytest.mark.parametrize("chart", [LINES, HEAT])
def test_ids_are_the_pictures_own_and_lead_somewhere(chart: Chart) -> None:
    text = drawing(chart)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert all(each.startswith(f"{chart.key}-") for each in ids)
    assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text)) <= set(ids)


def test_logarithmic_axes_have_plain_numbers() -> None:
    points = tuple(Point(x=10.0**k, y=10.0**-k) for k in range(5))
    chart = Lines(
        key="k",
        title="t",
        about="a",
        x_label="x",
        y_label="y",
        series=(Series(name="s", points=points, kin=0),),
        log_x=True,
        log_y=True,
    )
    text = drawing(chart)
    assert "mathdefault" not in text
    assert ">1,000<" in text
    assert ">0.01<" in text


def test_no_two_series_need_their_colour() -> None:
    """Markers and dashes together differ for the eight series of a figure, whatever the reader sees of colours."""
    for one, other in combinations(range(8), 2):
        assert (look(one).marker, look(one).dashes) != (look(other).marker, look(other).dashes)


# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as people without L, M or S cones see it.
VISION = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour: str) -> list[float]:
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


@pytest.mark.parametrize("vision", VISION)
def test_the_colours_stay_apart_for_every_vision(vision: str) -> None:
    seen = [[sum(w * c for w, c in zip(row, linear(each), strict=True)) for row in VISION[vision]] for each in COLOURS]
    for one, other in combinations(seen, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.04


def test_thinning_hides_no_peak() -> None:
    values = [(float(k), 0.0) for k in range(1000)]
    values[512] = (512.0, 9.0)
    points = thinned(values, 40, lambda x, y, count: f"{count}")
    assert len(points) == 40
    assert max(point.high or 0 for point in points) == 9.0
    assert sum(int(point.said) for point in points) == 1000
    assert sum(point.y * int(point.said) for point in points) == pytest.approx(9.0)


def test_few_values_stay_as_they_are() -> None:
    points = thinned([(0.0, 1.0), (5.0, 2.0)], 40, lambda x, y, count: f"{x:g}: {y:g}")
    assert points == (Point(x=0.0, y=1.0, said="0: 1"), Point(x=5.0, y=2.0, said="5: 2"))
