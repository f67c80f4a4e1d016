"""Matching losses: they measure how different the effects of the synthetic set and the real set on a network are."""

from satm.matching.alignment import alignment_distance as alignment_distance
from satm.matching.alignment import discrimination_loss as discrimination_loss
from satm.matching.characteristic import characteristic as characteristic
from satm.matching.characteristic import characteristic_distance as characteristic_distance
from satm.matching.distribution import distribution_distance as distribution_distance
from satm.matching.gradient import GradientDistance as GradientDistance
from satm.matching.gradient import absolute_distance as absolute_distance
from satm.matching.gradient import gradient_distance as gradient_distance
from satm.matching.gradient import squared_distance as squared_distance
from satm.matching.kernel import label_margin as label_margin
from satm.matching.kernel import ridge_loss as ridge_loss
from satm.matching.kernel import ridge_prediction as ridge_prediction
from satm.matching.real import RealLoss as RealLoss
from satm.matching.trajectory import TrajectoryLoss as TrajectoryLoss
