"""Expert trajectories: how they are trained, stored, and cut into segments."""

from satm.experts.filter import FilterConfig as FilterConfig
from satm.experts.flat import FlatConfig as FlatConfig
from satm.experts.segment import Segment as Segment
from satm.experts.segment import draw_segment as draw_segment
from satm.experts.store import Trajectory as Trajectory
from satm.experts.store import TrajectoryStore as TrajectoryStore
from satm.experts.train import ExpertConfig as ExpertConfig
from satm.experts.train import train_experts as train_experts
