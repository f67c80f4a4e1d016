"""Condensation methods, one file each. To add a method, read base.py first."""

from satm.methods.base import METHODS as METHODS
from satm.methods.base import Condensation as Condensation
from satm.methods.base import Method as Method
from satm.methods.base import Outcome as Outcome
from satm.methods.base import OuterWork as OuterWork
from satm.methods.base import Request as Request
from satm.methods.base import Task as Task
from satm.methods.base import Traits as Traits
from satm.methods.base import check_ipc as check_ipc
from satm.methods.base import class_major_labels as class_major_labels
from satm.methods.direct.method import DirectMethod as DirectMethod
from satm.methods.outer import OUTER as OUTER
from satm.methods.random import random_images as random_images
from satm.methods.satm import SATMConfig as SATMConfig
from satm.methods.trajectory.config import TrajectoryConfig as TrajectoryConfig
from satm.methods.trajectory.method import TrajectoryMethod as TrajectoryMethod
