"""Outer optimisers: rules that compute, from hypergradients, the direction in which the images φ move.

Each file holds one published rule. A rule (`OuterRule`) is a frozen dataclass of settings. It is called with an
`OuterProblem`, which is the matching loss F for one segment of an expert with every random draw fixed. The rule
computes as many hypergradients of the problem as it needs, and returns an `OuterUpdate`. A rule uses no experts, real
data or momentum itself, so every trajectory method works with every rule.

To add a rule, write a file like `sgd.py` (one pass) or `sam.py` (two passes) in this folder. `--outer` then accepts its
name. Another package can add a rule as an `OuterOptimiser` under the entry-point group `satm.outer`.
"""

from satm.methods.outer.asam import ASAM as ASAM
from satm.methods.outer.ascent import TwoPasses as TwoPasses
from satm.methods.outer.ema import EMA as EMA
from satm.methods.outer.esam import ESAM as ESAM
from satm.methods.outer.gsam import GSAM as GSAM
from satm.methods.outer.noise import NoiseReading as NoiseReading
from satm.methods.outer.noise import smoothing_noise as smoothing_noise
from satm.methods.outer.problem import OuterProblem as OuterProblem
from satm.methods.outer.problem import OuterUpdate as OuterUpdate
from satm.methods.outer.problem import State as State
from satm.methods.outer.rule import OUTER as OUTER
from satm.methods.outer.rule import AnyOuter as AnyOuter
from satm.methods.outer.rule import OuterOptimiser as OuterOptimiser
from satm.methods.outer.rule import OuterRule as OuterRule
from satm.methods.outer.rule import Redraw as Redraw
from satm.methods.outer.rule import Rule as Rule
from satm.methods.outer.sam import SAM as SAM
from satm.methods.outer.satm import SATM as SATM
from satm.methods.outer.sgd import SGD as SGD
from satm.methods.outer.smooth import Smooth as Smooth
from satm.methods.outer.vasso import VaSSO as VaSSO
