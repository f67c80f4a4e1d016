"""Outer optimisers: ways to turn hypergradients into the direction that φ descends. One published rule a file.

A rule (`OuterRule`) is a frozen dataclass of settings. It is called with an `OuterProblem`: F at one expert segment,
with every random draw fixed. It asks the problem for as many hypergradients as it needs and answers with an
`OuterUpdate`. Rules know nothing of experts, data or momentum, so every trajectory method works with every rule.

To add one, write a file like `sgd.py` (one pass) or `sam.py` (two passes) here. It is then a choice of `--outer`.
Another package offers a rule as an `OuterOptimiser` under the entry-point group `satm.outer`.
"""

from satm.methods.outer.asam import ASAM as ASAM
from satm.methods.outer.ascent import TwoPasses as TwoPasses
from satm.methods.outer.ema import EMA as EMA
from satm.methods.outer.gsam import GSAM as GSAM
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
from satm.methods.outer.satm import NoiseReading as NoiseReading
from satm.methods.outer.satm import smoothing_noise as smoothing_noise
from satm.methods.outer.sgd import SGD as SGD
from satm.methods.outer.vasso import VaSSO as VaSSO
