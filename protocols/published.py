"""Published class-incremental comparisons: numbers with their sources, and how a run departs from them.

CL_DM.py is the class-incremental script of DM (Zhao and Bilen; repository DatasetCondensation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from satm.names import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One panel of a published figure."""

    name: str
    summary: str  # one line
    dataset: str
    ipc: int
    steps: int
    protocol: str = "gdumb"
    architecture: str
    orders: int = 5
    networks: int = 3  # for each class order
    memory: str = "condensed[per-step]"  # CL_DM.py:84-96 reads one set a step, condensed from that step's classes
    order: str = "field"  # NumPy's shuffles at seeds 0 to 4 (CL_DM.py:59-62)
    recipe: str = "dm"  # the evaluation that CL_DM.py calls
    learning_rate: float = 0.01  # of that evaluation
    source: str

    def departures(self, ours: Mapping[str, object]) -> tuple[str, ...]:
        """One line for each fact of a run (`ours`, with the same names as `theirs`) that differs."""
        theirs: dict[str, object] = {
            "data set": self.dataset,
            "IPC": self.ipc,
            "class orders": self.orders,
            "networks an order": self.networks,
            "protocol": self.protocol,
            "memory": self.memory,
            "source of class orders": self.order,
            "architecture": self.architecture,
            "recipe": self.recipe,
            "learning rate": self.learning_rate,
        }
        return tuple(f"{name} {ours[name]} instead of {its}" for name, its in theirs.items() if ours[name] != its)


_FIGURE = "SATM (Gao et al. 2025), Figure 1 {}: {}; all other settings are not printed and come from DM's CL_DM.py"

PUBLISHED: Names[Published] = Names("published comparison", package="protocols.published")
PUBLISHED.add(
    Published(
        name="figure1-left",
        summary="SATM's Figure 1, left: CIFAR-10, IPC 50, 5 steps",
        dataset="cifar10",
        ipc=50,
        steps=5,
        architecture="convnet3_w128",
        source=_FIGURE.format("left", "5-step class-incremental learning on CIFAR-10, IPC 50"),
    )
)

PUBLISHED.add(
    Published(
        name="figure1-middle",
        summary="SATM's Figure 1, middle: Tiny ImageNet, IPC 3, 10 steps",
        dataset="tiny-imagenet",
        ipc=3,
        steps=10,
        architecture="convnet4_w128",
        source=_FIGURE.format("middle", "10-step class-incremental learning on Tiny ImageNet, IPC 3"),
    )
)

PUBLISHED.add(
    Published(
        name="figure1-right",
        summary="SATM's Figure 1, right: Tiny ImageNet, IPC 3, 20 steps",
        dataset="tiny-imagenet",
        ipc=3,
        steps=20,
        architecture="convnet4_w128",
        source=_FIGURE.format("right", "20-step class-incremental learning on Tiny ImageNet, IPC 3"),
    )
)
