"""Loggers: they send the metrics, images and settings of a run to other tools. There is one file for each tool."""

from satm.loggers.base import LOGGERS as LOGGERS
from satm.loggers.base import LoggedRun as LoggedRun
from satm.loggers.base import Logger as Logger
from satm.loggers.base import LoggerKind as LoggerKind
from satm.loggers.base import Wanted as Wanted
from satm.loggers.base import parse as parse
