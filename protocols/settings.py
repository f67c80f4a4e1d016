"""The settings of published class-incremental comparisons: numbers with their sources, no logic."""

from __future__ import annotations

from dataclasses import dataclass

from satm.names import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One panel of a comparison."""

    name: str
    dataset: str
    ipc: int
    steps: int
    protocol: str = "gdumb"
    orders: int = 5
    networks: int = 3
    source: str

    def departures(self, dataset: str, ipc: int, orders: int, networks: int) -> tuple[str, ...]:
        """How a run on another set or with fewer repeats differs."""
        ours = {"data set": dataset, "IPC": ipc, "class orders": orders, "networks an order": networks}
        theirs = (self.dataset, self.ipc, self.orders, self.networks)
        return tuple(
            f"{name} {mine} instead of {its}"
            for (name, mine), its in zip(ours.items(), theirs, strict=True)
            if mine != its
        )


_FIGURE = "SATM (Gao et al. 2025), Figure 1 {}: {}; orders and networks are not printed: DM's (CL_DM.py)"

SETTINGS: Names[Setting] = Names("published comparison")
SETTINGS.add(
    Setting(
        name="figure1-left",
        dataset="cifar10",
        ipc=50,
        steps=5,
        source=_FIGURE.format("left", "5-step class-incremental learning on CIFAR-10, IPC 50"),
    )
)

SETTINGS.add(
    Setting(
        name="figure1-middle",
        dataset="tiny-imagenet",
        ipc=3,
        steps=10,
        source=_FIGURE.format("middle", "10-step class-incremental learning on Tiny ImageNet, IPC 3"),
    )
)

SETTINGS.add(
    Setting(
        name="figure1-right",
        dataset="tiny-imagenet",
        ipc=3,
        steps=20,
        source=_FIGURE.format("right", "20-step class-incremental learning on Tiny ImageNet, IPC 3"),
    )
)
