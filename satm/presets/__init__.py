"""Presets: the hyper-parameters that the papers print, each with its source, and rules that scale them down."""

from satm.presets._types import CondenseConfig as CondenseConfig
from satm.presets._types import Numbers as Numbers
from satm.presets._types import Preset as Preset
from satm.presets._types import Row as Row
from satm.presets.find import find_preset as find_preset
from satm.presets.numbers import NUMBERS as NUMBERS
from satm.presets.printed import spell_printed as spell_printed
from satm.presets.printed import spell_row as spell_row
from satm.presets.profiles import FOREIGN as FOREIGN
from satm.presets.profiles import ORDER as ORDER
from satm.presets.profiles import PROFILES as PROFILES
from satm.presets.profiles import Profile as Profile
from satm.presets.profiles import class_incremental_repeats as class_incremental_repeats
from satm.presets.profiles import get_profile as get_profile
from satm.presets.profiles import weaker as weaker
from satm.presets.rows import all_rows as all_rows
from satm.presets.rows import perturbation as perturbation
