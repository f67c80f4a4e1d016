"""A table of all commands of `satm`: the modules that make each command, and its text in `satm --help`.

With this table, `satm` loads only the modules of the command that the user runs. A test checks that the texts here are
equal to the help texts of the commands.
"""

from __future__ import annotations

from typing import NamedTuple

ABOUT = "Condense image data sets, store every version of the results, and measure them out of domain."
LISTS = "Lists"  # the heading in `satm --help` for the commands that list names


class Entry(NamedTuple):
    """A command, or a group of commands."""

    modules: tuple[str, ...]  # modules of `satm.cli`: the first adds the command or group, the others add to the group
    help: str  # the first paragraph of the help of the command or group
    panel: str = "Commands"  # the heading in `satm --help` under which the command is listed


COMMANDS = {
    "condense": Entry(("condense",), "Learn a few synthetic images per class and store them in the registry."),
    "experts": Entry(
        ("condense",),
        "Train the expert trajectories, or the teacher, that condensing DATASET needs. Stored ones are kept.",
    ),
    "plan": Entry(("plan",), "Predict the time and memory of a condensation by timing a few outer steps of it."),
    "tune": Entry(
        ("tune",), "Search settings for the best accuracy on the validation split. Test images are never used."
    ),
    "eval": Entry(
        ("evaluate",),
        "Train networks from scratch on a set or a group, with the architecture it was made on, and test them.",
    ),
    "eval-arch": Entry(
        ("architectures",),
        "Train networks on the sets, in architectures that the sets were not made on, and compare the accuracies.",
    ),
    "eval-cl": Entry(
        ("incremental",),
        "Measure a set, or every set of a group, as the memory in class-incremental continual learning.",
    ),
    "score": Entry(
        ("score",),
        "Score a set or a group by more than accuracy: robustness to labels, augmentation and damage; coverage; "
        "diversity.",
    ),
    "compare": Entry(
        ("compare",),
        "Compare groups of sets by their stored results, paired by seed and network. Nothing is trained.",
    ),
    "reproduce": Entry(
        ("reproduce",),
        "Make and judge the sets of a table or figure of the paper, and say which of its claims hold.",
    ),
    "results": Entry(
        ("results",),
        "Show the stored results: a row for each set or group, architecture and memory, with accuracy, interval, n.",
    ),
    "report": Entry(
        ("report",),
        "Write an HTML page with figures, tables and images of the stored results. Nothing is trained.",
    ),
    "serve": Entry(
        ("serve",),
        "Browse the registry in datasette, read-only: tables with facets, images, named queries, SQL. Ctrl-C ends it.",
    ),
    "query": Entry(("registry",), "Run an SQL query on the registry. The registry is only read."),
    "cite": Entry(("cite",), "Print the works that a user of a set should cite, as BibTeX."),
    "methods": Entry(("lists",), "List the condensation methods and the outer optimisers.", LISTS),
    "presets": Entry(("lists",), "List the presets: rows of hyper-parameters and the source of each.", LISTS),
    "protocols": Entry(
        ("lists",),
        "List the class-incremental protocols of satm eval-cl, online memories and the published comparisons.",
        LISTS,
    ),
    "architectures": Entry(("lists",), "List the architectures. timm/NAME names any network of timm.", LISTS),
    "recipes": Entry(("lists",), "List the recipes: how networks are trained when a set is evaluated.", LISTS),
    "metrics": Entry(
        ("lists",),
        "List the metrics that satm eval and satm eval-arch store for every network.",
        LISTS,
    ),
    "loggers": Entry(
        ("lists",), "List the loggers: tools that --log also sends the metrics and images of a run to.", LISTS
    ),
    "datasets": Entry(
        ("lists",),
        "List the data sets that are known by name. The path of a folder of images also names one.",
        LISTS,
    ),
    "layouts": Entry(
        ("lists",), "List the file layouts that satm sets import reads and satm sets export writes.", LISTS
    ),
    "doctor": Entry(
        ("doctor",), "Show versions, devices, folders, the plugins of other packages, and every problem found."
    ),
    "sets": Entry(("registry", "exchange", "origins"), "The synthetic sets in the registry."),
    "runs": Entry(("runs",), "Condensations, evaluations and imports, with what became of them."),
    "registry": Entry(("upkeep",), "The registry file itself."),
}
"""All commands by name, in the order of `satm --help`."""
