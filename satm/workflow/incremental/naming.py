"""Names class-incremental protocols, and numbers the networks of a stream, as they are stored in result rows."""

from __future__ import annotations

BASE = "class-incremental"  # the first part of the name of every class-incremental protocol
PER_STEP = ("accuracy_on_step_", "masked_accuracy_on_step_")
"""The first part of the names of the metrics in the two matrices of accuracies. A matrix has one metric for each step
on whose classes the network is tested; the number of the step follows."""
ORDERS = 1000  # the largest number of class orders; the number of a repeat is order + ORDERS · network

GUESSED = "diverged"
"""A key in the detail of a result row. It says that the network diverged, and that the row has the values of chance."""


def protocol_name(protocol: str, stream: str = "") -> str:
    """Return the name of a protocol in results. GDumb is `class-incremental`, and any other `class-incremental/NAME`.

    `stream` describes a stream that differs from the usual one of satm; empty for the usual one. It becomes a part of
    the name, as in `class-incremental/gdumb[order field, base 50]`. The name of a domain-incremental stream begins in
    the same way, so that every reader of results finds it: `class-incremental/gdumb[rotation 0,36,72,108,144]`.
    """
    if stream:
        return f"{BASE}/{protocol}[{stream}]"
    return BASE if protocol == "gdumb" else f"{BASE}/{protocol}"


def repeat_of(order: int, network: int) -> int:
    """Return the number under which a network of a class order is stored: order + 1000 · network.

    For example, 2 is the first network of the third class order, and 1002 is its second network. If more class orders
    or more networks are added later, the stored networks keep their numbers.
    """
    return order + ORDERS * network
