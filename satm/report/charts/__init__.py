"""Charts as plain data, and their drawing with matplotlib: as SVG for a page, or as SVG and PNG files."""

from satm.report.charts.model import Chart, Heat, Lines, Point, Series
from satm.report.charts.thinning import thinned

__all__ = ["Chart", "Heat", "Lines", "Point", "Series", "thinned"]
