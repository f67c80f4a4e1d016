"""Accuracies of a stream of three incremental steps, small enough to compute metrics from them by hand."""

MATRIX = (
    (0.9, 0.0, 0.0),
    (0.6, 0.7, 0.1),
    (0.7, 0.5, 0.8),
)
"""Row k: after step k. Column j: on the test images of step j's classes."""

SEEN = (0.9, 0.65, 0.4)
"""After each step: on all classes seen so far."""

MASKED = (
    (0.9, 0.4, 0.6),
    (0.8, 0.9, 0.5),
    (0.9, 0.8, 1.0),
)
"""The accuracy matrix under the task mask."""

UNTRAINED = (0.3, 0.2, 0.4)
"""Of the untrained network, on the test images of each step's classes."""

MASKED_UNTRAINED = (0.5, 0.6, 0.3)
"""The same under the task mask."""
