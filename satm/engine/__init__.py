"""The inner loop of trajectory matching, and the ways to differentiate through it.

This package uses torch only. It reads no data and no files, and prints nothing. Three choices are independent of each
other: the inner loop (`InnerLoop`, with the `UpdateRule` of its steps), how many of its last steps are differentiated
(a `Truncation`), and how the derivative is computed (a `HypergradientPolicy`).
"""

from satm.engine.choice import Engine as Engine
from satm.engine.choice import EngineChoice as EngineChoice
from satm.engine.choice import InnerWork as InnerWork
from satm.engine.choice import choose_engine as choose_engine
from satm.engine.choice import whether_compiled as whether_compiled
from satm.engine.halves import kept_bytes as kept_bytes
from satm.engine.higher import HigherPolicy as HigherPolicy
from satm.engine.hypergradient import Hypergradient as Hypergradient
from satm.engine.hypergradient import HypergradientPolicy as HypergradientPolicy
from satm.engine.inner import InnerLoop as InnerLoop
from satm.engine.inner import OuterVariables as OuterVariables
from satm.engine.replay import ReplayPolicy as ReplayPolicy
from satm.engine.replay import TeslaPolicy as TeslaPolicy
from satm.engine.replay import inner_path as inner_path
from satm.engine.step import Step as Step
from satm.engine.step import make_step as make_step
from satm.engine.step_size import exact_step_size_derivative as exact_step_size_derivative
from satm.engine.step_size import first_order_step_size_derivative as first_order_step_size_derivative
from satm.engine.truncation import Full as Full
from satm.engine.truncation import LastSteps as LastSteps
from satm.engine.truncation import Truncation as Truncation
from satm.engine.update import PLAIN_SGD as PLAIN_SGD
from satm.engine.update import RULES as RULES
from satm.engine.update import Adam as Adam
from satm.engine.update import Moments as Moments
from satm.engine.update import MomentumSGD as MomentumSGD
from satm.engine.update import PlainSGD as PlainSGD
from satm.engine.update import UpdateRule as UpdateRule
from satm.functional import FlatNetwork as FlatNetwork
from satm.functional import flatten as flatten
from satm.functional import unflatten as unflatten
from satm.machine.precision import Precision as Precision
