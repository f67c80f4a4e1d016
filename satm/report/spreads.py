"""Writes the standard deviation between condensations, or between networks, as text."""

from __future__ import annotations

from satm.statistics import Crossed, Estimate

NOT_SEEN = "~0"


def spread_text(
    std: float | None, estimate: Estimate, *, scale: float = 100.0, digits: int = 1, unknown: str = "–"
) -> str:
    """A component of `satm.statistics.crossed`, such as `between_condensations`, times `scale`.

    A component is estimated as a difference of mean squares. If this difference is not above 0, the component is set to
    0, although the means may differ. The text is then "~0": the means differ no more than chance makes them differ if
    the true component is 0. "0.0" would say that they do not differ. `estimate` is the mean to which `std` belongs.
    `unknown` is the text for None.
    """
    if std is None:
        return unknown
    cut = std == 0 and isinstance(estimate, Crossed) and bool(estimate.rest)
    return NOT_SEEN if cut else f"{scale * std:.{digits}f}"
