"""Writes `published.csv`, the golden table: published hyper-parameters, one a row, in our own short form.

Its first input is a long table with the columns method, dataset, ipc, parameter, value, source_repo, source_path,
commit and note, collected from the papers' repositories. The second is SATM's Table 11, one row for each data set and
IPC. Run it again if a table grows:

    python -m tests.golden.generate PATH/TO/published.csv PATH/TO/hyperparameters.csv

`by_hand.csv` has the same columns. It holds the methods that the long table does not have.

What it changes: methods and extensions that the suite does not have are left out, rows for several methods are written
once for each, numbers are spelt as Python spells them, and a column `variant` tells apart rows of the same method, data
set and IPC (another network, the default of a program, a transcription by a third party).
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

GOLDEN = Path(__file__).with_name("published.csv")
COLUMNS = ("method", "dataset", "ipc", "variant", "parameter", "value", "source")

METHODS = (
    *("mtt", "ftd", "tesla", "datm", "dc", "dsa", "dm", "dm-cl", "rded", "mdc", "idc", "gdumb", "kip", "idc-cl"),
    *("sam", "gsam", "asam", "vasso"),
    *(f"dd-ranking/{name}" for name in ("mtt", "datm", "dc", "dsa", "dm", "rded")),
    "dd-ranking",
)
"""The methods, outer rules and recipes of which the suite has a counterpart."""


TABLE_11 = {
    "inner_steps_N": "syn_steps",
    "expert_epochs_M": "expert_epochs",
    "max_start_epoch_T": "max_start_epoch",
    "syn_batch_size": "batch_syn",
    "lr_images": "lr_img",
    "lr_step_size": "lr_lr",
    "zca": "zca",
    "architecture": "model",
}
"""What MTT's code calls the columns of SATM's Table 11."""

SAME = {"gsam_alpha": "buffer.gsam_alpha", "buffer.rho": "buffer.rho_max", "": "all", "Y": "True"} | {
    f"convnet_d{depth}": f"ConvNetD{depth}" for depth in (3, 4)
}
"""Several spellings of one name or value."""


def main(source: Path, printed: Path) -> None:
    """Write the golden table from the long table at `source` and SATM's at `printed`."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with printed.open(newline="") as file:
        satm = list(csv.DictReader(file))
    with GOLDEN.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(merged([*golden(rows), *table_11(satm)]))


def golden(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, ...]]:
    """The golden rows of a long table, in its order; the same value from two sources is in two rows."""
    seen: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        key = tuple(row[name] for name in ("method", "dataset", "ipc", "source_path", "parameter"))
        part = seen[key]  # 1 for the second row that a source prints for the same request
        seen[key] += 1
        ipc, variant = _ipc(row, part)
        for method in row["method"].split("/") if row["method"].startswith("dc/") else [row["method"]]:
            if method in METHODS:
                dataset = "*" if "/" in row["dataset"] else row["dataset"]
                parameter = SAME.get(row["parameter"], row["parameter"])
                yield method, dataset, ipc, variant, parameter, number(row["value"]), _source(row)


def table_11(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, ...]]:
    """The golden rows of SATM's Table 11."""
    for row in rows:
        for column, parameter in TABLE_11.items():
            value = number(SAME.get(row[column], row[column]))
            yield "satm", row["dataset"], row["ipc"], "", parameter, value, "Gao et al. 2025, Table 11"


def merged(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows without repetitions. Several sources of the same value are joined by "; "."""
    sources: dict[tuple[str, ...], list[str]] = {}
    for *key, source in rows:
        known = sources.setdefault(tuple(key), [])
        known += [] if source in known else [source]
    return [(*key, "; ".join(known)) for key, known in sources.items()]


def number(text: str) -> str:
    """`text` in Python's shortest spelling if it is a number, else as it is."""
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def _ipc(row: Mapping[str, str], part: int) -> tuple[str, str]:
    """The IPC and the variant of a row. `part` counts the rows that one source prints for the same request."""
    ipc, path = row["ipc"], row["source_path"]
    if row["method"] == "gsam":
        return "*", ipc if ipc != "*" else ""
    if row["method"] == "kip":
        return ipc.split(" ")[0], path.rpartition("/")[2]
    if row["method"] == "rded" and path.startswith("scripts/"):
        return ipc, re.sub(r"scripts/[^_]*_\d+ipc_|\.sh", "", path)
    if "MCT" in row["source_repo"]:
        return ipc, "third party, with ZCA" if part else "third party, no ZCA"
    if row["source_path"].startswith("configs/Demo"):
        return ipc, "demo"
    if "class defaults" in row["note"]:
        return ipc or "*", path.partition(":")[0].rpartition("/")[2]
    if "argparse default" in row["note"]:  # what the program does if nobody passes the option
        return ipc or "*", "default"
    if "only with --model MLP" in row["note"]:
        return ipc, "MLP"
    return ipc or "*", ""


def _source(row: Mapping[str, str]) -> str:
    repository = row["source_repo"].rpartition("/")[2]
    path = row["source_path"].partition(" (older version")[0]
    return " ".join(part for part in (repository, row["commit"][:7], path) if part)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
