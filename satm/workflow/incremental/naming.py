"""How a class-incremental stream and its networks are called in result rows."""

from __future__ import annotations

BASE = "class-incremental"
PER_STEP = ("accuracy_on_step_", "masked_accuracy_on_step_")
"""How the metrics of the two accuracy matrices begin: there is one for each step that is tested."""
ORDERS = 1000  # class orders at most: repeat = order + ORDERS · network

GUESSED = "diverged"
"""Key of the detail of a row: its network diverged, and its values are those of a guess."""


def protocol_name(protocol: str, stream: str = "") -> str:
    """The name of a protocol in results. GDumb is `class-incremental`, any other `class-incremental/NAME`.

    A `stream` that is not the suite's own is part of the name: `class-incremental/gdumb[order field, base 50]`.
    """
    if stream:
        return f"{BASE}/{protocol}[{stream}]"
    return BASE if protocol == "gdumb" else f"{BASE}/{protocol}"


def repeat_of(order: int, network: int) -> int:
    """The repeat number of a class order's network: 2 is the third order's first network, 1002 its second.

    More class orders or more networks can follow later: every stored repeat keeps its number.
    """
    return order + ORDERS * network
