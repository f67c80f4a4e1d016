"""Runs tasks that do not depend on each other: one after another, in several processes, or on a Ray cluster."""

from satm.workflow.fan_out.local import LocalWorkers
from satm.workflow.fan_out.one_process import OneProcess
from satm.workflow.fan_out.place import Place
from satm.workflow.fan_out.ray_cluster import RayCluster
from satm.workflow.fan_out.run import fan_out
from satm.workflow.fan_out.task import Outcome, Task, Work

__all__ = ["LocalWorkers", "OneProcess", "Outcome", "Place", "RayCluster", "Task", "Work", "fan_out"]
