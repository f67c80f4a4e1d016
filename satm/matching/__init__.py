"""Matching losses: distances between what a network does on the synthetic set and on the real set."""

from satm.matching.characteristic import characteristic as characteristic
from satm.matching.characteristic import characteristic_distance as characteristic_distance
from satm.matching.distribution import distribution_distance as distribution_distance
from satm.matching.gradient import gradient_distance as gradient_distance
from satm.matching.trajectory import TrajectoryLoss as TrajectoryLoss
