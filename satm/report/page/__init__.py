"""The report page: its content as plain data, and its rendering as one HTML file that loads nothing else."""

from satm.report.page.model import Card, Column, Figure, Page, Picture, Section, Table, Value
from satm.report.page.rendering import render_page

__all__ = ["Card", "Column", "Figure", "Page", "Picture", "Section", "Table", "Value", "render_page"]
