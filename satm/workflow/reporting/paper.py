"""The paper's number for a result, if its tables print one for the same data set, IPC, method and architecture."""

from __future__ import annotations

from satm.report.page import Value
from satm.studies.paper import paper_numbers
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow

OWN = ("table2", "table3", "table4", "table7", "table9")  # on the architecture that the sets were made with
OTHERS = "table5"


def printed(row: GroupRow) -> Value:
    """The printed accuracy in percent, with its table; an empty cell if there is none.

    Tables 2 and 9 overlap in places; the first table in this order counts.
    """
    record, cell = row.group.newest, row.cell
    if cell.memory != "condensed" or cell.metric != "accuracy" or cell.protocol not in WHOLE:
        return Value("")
    own = cell.protocol == "in-domain"
    if own and not cell.architecture.startswith("convnet"):
        return Value("")  # Tables 2 and 9 are of ConvNets
    numbers = paper_numbers()
    for table in OWN if own else (OTHERS,):
        key = (table, record.dataset, record.ipc, record.method, "" if own else cell.architecture, "accuracy")
        if (found := numbers.get(key)) is not None:
            spread = "" if found.spread is None else f" ± {found.spread:g}"
            return Value(
                f"{found.value:g}{spread}", found.value, note=f"Table {table.removeprefix('table')}, profile paper"
            )
    return Value("")
