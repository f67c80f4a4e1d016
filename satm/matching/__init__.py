"""Matching losses: how far training on the synthetic set is from training on the real one."""

from satm.matching.distribution import distribution_distance as distribution_distance
from satm.matching.gradient import gradient_distance as gradient_distance
from satm.matching.trajectory import TrajectoryLoss as TrajectoryLoss
