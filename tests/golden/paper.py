"""Writes `satm/studies/paper.csv`: the numbers of the paper's tables (Gao et al. 2025), as the studies call them.

Its input is a table with the columns table, dataset, ipc, architecture, method, metric, mean, std and note, read off the
paper. Run it again if that table grows:

    python -m tests.golden.paper PATH/TO/results.csv
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

OURS = Path(__file__).parents[2] / "satm" / "studies" / "paper.csv"
COLUMNS = ("table", "dataset", "ipc", "arm", "architecture", "metric", "value", "spread")
METRICS = {
    "accuracy_pct": "accuracy",
    "memory_gb": "run.peak_bytes",
    "seconds_per_iteration": "run.outer_step_seconds",
}
WINDOW = re.compile(r"SATM\(keep=N/(\d+),N=\d+\)")


def main(source: Path) -> None:
    """Write the file from the table at `source`."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with OURS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(converted(rows))


def converted(rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, ...]]:
    """The rows in our words. The networks that the sets were made with have no name there: "" is a set's own."""
    for row in rows:
        own = row["architecture"].startswith("convnet_d")
        yield (
            *(row["table"], row["dataset"], row["ipc"], arm(row["method"]), "" if own else row["architecture"]),
            *(METRICS[row["metric"]], row["mean"], row["std"]),
        )


def arm(method: str) -> str:
    """What the studies call a method of the paper: `satm-da`, or `window-1/3` for a row of Table 8."""
    window = WINDOW.fullmatch(method)
    return f"window-1/{window[1]}" if window else method.lower()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
