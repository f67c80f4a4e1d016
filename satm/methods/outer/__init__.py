"""Outer optimisers: from hypergradients to the direction that φ and α move in, one published rule a file.

A rule is a frozen configuration that is called with an `OuterProblem`, F at one expert segment with every draw fixed,
and asks it for as many hypergradients as it needs. Its state is a dictionary of tensors that goes in and comes out.
Rules know nothing of experts, data or momentum, so any trajectory method takes any of them.
"""

from typing import TypeAlias

from satm.methods.outer.asam import ASAM as ASAM
from satm.methods.outer.ema import EMA as EMA
from satm.methods.outer.gsam import GSAM as GSAM
from satm.methods.outer.problem import OUTER as OUTER
from satm.methods.outer.problem import OuterOptimiser as OuterOptimiser
from satm.methods.outer.problem import OuterProblem as OuterProblem
from satm.methods.outer.problem import OuterRule as OuterRule
from satm.methods.outer.problem import OuterUpdate as OuterUpdate
from satm.methods.outer.sam import SAM as SAM
from satm.methods.outer.satm import SATM as SATM
from satm.methods.outer.satm import NoiseReading as NoiseReading
from satm.methods.outer.satm import smoothing_noise as smoothing_noise
from satm.methods.outer.sgd import SGD as SGD
from satm.methods.outer.vasso import VaSSO as VaSSO

AnyOuter: TypeAlias = SGD | EMA | SAM | GSAM | ASAM | VaSSO | SATM
"""What a configuration may hold; the field `rule` tells them apart."""
