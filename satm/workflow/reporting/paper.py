"""Finds the number that the paper prints for the same data set, IPC, method and architecture as a result."""

from __future__ import annotations

from satm.report.page import Value
from satm.studies.paper import paper_numbers
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow

OWN = ("table2", "table3", "table4", "table7", "table9")  # the paper's tables on the architecture of the condensation
OTHERS = "table5"  # the paper's table on other architectures


def printed(row: GroupRow) -> Value:
    """A table cell with the accuracy that the paper prints, in percent, and the number of the paper's table.

    The cell is empty if the paper has no such number. Tables 2 and 9 print some of the same entries; then the number of
    the first table in `OWN` is used.
    """
    record, cell = row.group.newest, row.cell
    if cell.memory != "condensed" or cell.metric != "accuracy" or cell.protocol not in WHOLE:
        return Value("")
    own = cell.protocol == "in-domain"
    if own and not cell.architecture.startswith("convnet"):
        return Value("")  # the tables in `OWN` have results of ConvNets only
    numbers = paper_numbers()
    for table in OWN if own else (OTHERS,):
        key = (table, record.dataset, record.ipc, record.method, "" if own else cell.architecture, "accuracy")
        if (found := numbers.get(key)) is not None:
            spread = "" if found.spread is None else f" ± {found.spread:g}"
            return Value(
                f"{found.value:g}{spread}", found.value, note=f"Table {table.removeprefix('table')}, profile paper"
            )
    return Value("")
