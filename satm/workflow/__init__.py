"""Where the library, the registry, the evaluations and the protocols meet: what a user asks for, as functions."""

from satm.workflow.choosing import choose_preset as choose_preset
from satm.workflow.choosing import default_profile as default_profile
from satm.workflow.condensation import Condensed as Condensed
from satm.workflow.condensation import condense as condense
from satm.workflow.condensation import preview as preview
from satm.workflow.evaluation import evaluate as evaluate
from satm.workflow.exporting import diff as diff
from satm.workflow.exporting import export_set as export_set
from satm.workflow.importing import import_set as import_set
from satm.workflow.incremental import evaluate_incremental as evaluate_incremental
from satm.workflow.lookup import load as load
from satm.workflow.lookup import query as query
from satm.workflow.lookup import results as results
from satm.workflow.matrix import evaluate_matrix as evaluate_matrix
from satm.workflow.plan import Plan as Plan
from satm.workflow.plan import plan as plan
