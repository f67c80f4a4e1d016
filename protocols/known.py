"""Every protocol of ours, registered; importing them imports no Avalanche."""

from __future__ import annotations

from protocols import cumulative, der, er_ace, gdumb, gdumb_avalanche, gdumb_original, naive, replay
from protocols.base import PROTOCOLS as PROTOCOLS

for _module in (gdumb, gdumb_original, gdumb_avalanche, replay, der, er_ace, naive, cumulative):
    PROTOCOLS.add(_module.PROTOCOL.name, _module.PROTOCOL)
