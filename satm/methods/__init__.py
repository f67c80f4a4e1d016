"""Condensation methods: each one file, a typed configuration and a composition of the engine's pieces."""

from satm.methods import datm as _datm
from satm.methods import dc as _dc
from satm.methods import dm as _dm
from satm.methods import dsa as _dsa
from satm.methods import ftd as _ftd
from satm.methods import herding as _herding
from satm.methods import kcenter as _kcenter
from satm.methods import mdc as _mdc
from satm.methods import mtt as _mtt
from satm.methods import random as _random
from satm.methods import rded as _rded
from satm.methods import satm as _satm
from satm.methods import satm_da as _satm_da
from satm.methods import satm_fi as _satm_fi
from satm.methods import tesla as _tesla
from satm.methods.base import METHODS as METHODS
from satm.methods.base import Condensation as Condensation
from satm.methods.base import Learnt as Learnt
from satm.methods.base import Method as Method
from satm.methods.base import Request as Request
from satm.methods.base import Task as Task
from satm.methods.base import check_ipc as check_ipc
from satm.methods.base import class_major_labels as class_major_labels
from satm.methods.outer import OUTER as OUTER
from satm.methods.random import random_images as random_images
from satm.methods.satm import SATMConfig as SATMConfig
from satm.methods.trajectory.config import TrajectoryConfig as TrajectoryConfig

for _method in (
    _satm.METHOD,
    _mtt.METHOD,
    _ftd.METHOD,
    _tesla.METHOD,
    _datm.METHOD,
    _satm_fi.METHOD,
    _satm_da.METHOD,
    _random.METHOD,
    _herding.METHOD,
    _kcenter.METHOD,
    _dc.METHOD,
    _dsa.METHOD,
    _dm.METHOD,
    _rded.METHOD,
    _mdc.METHOD,
):
    METHODS.add(_method.name, _method)
