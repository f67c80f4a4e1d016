"""Matching losses: how far training on the synthetic set is from training on the real one."""

from satm.matching.trajectory import TrajectoryLoss as TrajectoryLoss
