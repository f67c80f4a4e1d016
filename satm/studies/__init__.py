"""Studies: the cells that are compared, the claims about them, and the paper's numbers. Nothing is computed here."""

from satm.studies.claims import Claim as Claim
from satm.studies.claims import Comparison as Comparison
from satm.studies.claims import comparisons as comparisons
from satm.studies.paper import PaperNumber as PaperNumber
from satm.studies.paper import paper_numbers as paper_numbers
from satm.studies.read import read_study as read_study
from satm.studies.read import shipped as shipped
from satm.studies.study import Arm as Arm
from satm.studies.study import Block as Block
from satm.studies.study import Cell as Cell
from satm.studies.study import Condition as Condition
from satm.studies.study import Evaluation as Evaluation
from satm.studies.study import Study as Study
