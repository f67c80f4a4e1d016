"""Matching losses: they measure how different the effects of the synthetic set and the real set on a network are."""

from satm.matching.characteristic import characteristic as characteristic
from satm.matching.characteristic import characteristic_distance as characteristic_distance
from satm.matching.distribution import distribution_distance as distribution_distance
from satm.matching.gradient import gradient_distance as gradient_distance
from satm.matching.kernel import label_margin as label_margin
from satm.matching.kernel import ridge_loss as ridge_loss
from satm.matching.kernel import ridge_prediction as ridge_prediction
from satm.matching.real import RealLoss as RealLoss
from satm.matching.trajectory import TrajectoryLoss as TrajectoryLoss
