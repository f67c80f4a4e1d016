"""Dataset condensation that can be trusted and compared.

The functions and classes below do the work of the commands. Each is imported only when it is first used, so
`import satm` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from satm.synthetic import SyntheticSet as SyntheticSet
    from satm.workflow.choosing import choose_preset as choose_preset
    from satm.workflow.citing import cite as cite
    from satm.workflow.compare import compare as compare
    from satm.workflow.condense.judging import Judging as Judging
    from satm.workflow.condense.plan import plan as plan
    from satm.workflow.condense.run import condense as condense
    from satm.workflow.condense.run import preview as preview
    from satm.workflow.condense.seeds import condense_seeds as condense_seeds
    from satm.workflow.condense.side_by_side import condense_side_by_side as condense_side_by_side
    from satm.workflow.evaluate.in_domain import evaluate as evaluate
    from satm.workflow.evaluate.matrix import evaluate_matrices as evaluate_matrices
    from satm.workflow.evaluate.matrix import evaluate_matrix as evaluate_matrix
    from satm.workflow.exchange.exporting import diff as diff
    from satm.workflow.exchange.exporting import export_set as export_set
    from satm.workflow.exchange.importing import import_set as import_set
    from satm.workflow.grouped import group_results as group_results
    from satm.workflow.incremental.buffer import avalanche_buffer as avalanche_buffer
    from satm.workflow.incremental.run import evaluate_incremental as evaluate_incremental
    from satm.workflow.lookup import load as load
    from satm.workflow.lookup import query as query
    from satm.workflow.lookup import results as results
    from satm.workflow.reporting.writing import write_report as write_report
    from satm.workflow.score.run import score as score
    from satm.workflow.teachers import ByTeacher as ByTeacher
    from satm.workflow.tune.run import tune as tune

__version__ = "0.1.0"

# The public names and the module that defines each of them, in the order in which a user needs them. The imports above
# list the same names for type checkers.
_HOMES = {
    "choose_preset": "satm.workflow.choosing",
    "plan": "satm.workflow.condense.plan",
    "preview": "satm.workflow.condense.run",
    "Judging": "satm.workflow.condense.judging",
    "condense": "satm.workflow.condense.run",
    "condense_seeds": "satm.workflow.condense.seeds",
    "condense_side_by_side": "satm.workflow.condense.side_by_side",
    "tune": "satm.workflow.tune.run",
    "load": "satm.workflow.lookup",
    "ByTeacher": "satm.workflow.teachers",
    "evaluate": "satm.workflow.evaluate.in_domain",
    "evaluate_matrix": "satm.workflow.evaluate.matrix",
    "evaluate_matrices": "satm.workflow.evaluate.matrix",
    "evaluate_incremental": "satm.workflow.incremental.run",
    "avalanche_buffer": "satm.workflow.incremental.buffer",
    "score": "satm.workflow.score.run",
    "results": "satm.workflow.lookup",
    "group_results": "satm.workflow.grouped",
    "compare": "satm.workflow.compare",
    "query": "satm.workflow.lookup",
    "write_report": "satm.workflow.reporting.writing",
    "cite": "satm.workflow.citing",
    "import_set": "satm.workflow.exchange.importing",
    "export_set": "satm.workflow.exchange.exporting",
    "diff": "satm.workflow.exchange.exporting",
    "SyntheticSet": "satm.synthetic",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'satm' has no attribute '{name}'")
