"""Runs tasks that do not need each other: one after another, in several processes, or on a Ray cluster."""

from satm.workflow.fan_out.local import LocalWorkers
from satm.workflow.fan_out.one_process import OneProcess
from satm.workflow.fan_out.place import Place
from satm.workflow.fan_out.run import fan_out
from satm.workflow.fan_out.task import Outcome, Task, Work

__all__ = ["LocalWorkers", "OneProcess", "Outcome", "Place", "Task", "Work", "fan_out"]
