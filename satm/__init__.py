"""Dataset condensation that can be trusted and compared.

The functions below are the whole of what the command line does; they are imported when first used, so that
`import satm` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satm.synthetic import SyntheticSet as SyntheticSet
    from satm.workflow import choose_preset as choose_preset
    from satm.workflow import condense as condense
    from satm.workflow import evaluate as evaluate
    from satm.workflow import evaluate_incremental as evaluate_incremental
    from satm.workflow import evaluate_matrix as evaluate_matrix
    from satm.workflow import export_set as export_set
    from satm.workflow import import_set as import_set
    from satm.workflow import load as load
    from satm.workflow import query as query
    from satm.workflow import results as results

__version__ = "0.1.0"

_HOMES = {
    "SyntheticSet": "satm.synthetic",
    "choose_preset": "satm.workflow",
    "condense": "satm.workflow",
    "evaluate": "satm.workflow",
    "evaluate_incremental": "satm.workflow",
    "evaluate_matrix": "satm.workflow",
    "export_set": "satm.workflow",
    "import_set": "satm.workflow",
    "load": "satm.workflow",
    "query": "satm.workflow",
    "results": "satm.workflow",
}

__all__ = [  # noqa: RUF022 (in the order they are used)
    "choose_preset",
    "condense",
    "load",
    "evaluate",
    "evaluate_matrix",
    "evaluate_incremental",
    "results",
    "query",
    "import_set",
    "export_set",
    "SyntheticSet",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'satm' has no attribute '{name}'")
