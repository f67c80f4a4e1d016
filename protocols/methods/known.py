"""Every protocol of ours, registered; importing them imports no Avalanche."""

from __future__ import annotations

from protocols.base import PROTOCOLS as PROTOCOLS
from protocols.methods import cumulative, der, er_ace, gdumb, gdumb_avalanche, gdumb_original, naive, replay

for _module in (gdumb, gdumb_original, gdumb_avalanche, replay, der, er_ace, naive, cumulative):
    PROTOCOLS.add(_module.PROTOCOL.name, _module.PROTOCOL)
