"""Published class-incremental comparisons: numbers with their sources, no logic."""

from __future__ import annotations

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
    orders: int = 5
    networks: int = 3  # for each class order
    source: str

    def departures(self, dataset: str, ipc: int, orders: int, networks: int) -> tuple[str, ...]:
        """One line for each number of a run that differs from the published one."""
        ours = {"data set": dataset, "IPC": ipc, "class orders": orders, "networks an order": networks}
        theirs = (self.dataset, self.ipc, self.orders, self.networks)
        return tuple(
            f"{name} {mine} instead of {its}"
            for (name, mine), its in zip(ours.items(), theirs, strict=True)
            if mine != its
        )


_FIGURE = "SATM (Gao et al. 2025), Figure 1 {}: {}; orders and networks are not printed: DM's (CL_DM.py)"

PUBLISHED: Names[Published] = Names("published comparison", package="protocols.published")
PUBLISHED.add(
    Published(
        name="figure1-left",
        summary="SATM's Figure 1, left: CIFAR-10, IPC 50, 5 steps",
        dataset="cifar10",
        ipc=50,
        steps=5,
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
        source=_FIGURE.format("right", "20-step class-incremental learning on Tiny ImageNet, IPC 3"),
    )
)
