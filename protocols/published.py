"""The settings of published class-incremental comparisons, their sources, and how a run departs from them.

The comments cite CL_DM.py, the class-incremental script of DM (Zhao and Bilen; repository DatasetCondensation). The
figures of other methods are cited where they are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from satm.names import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The settings of one panel of a published figure."""

    name: str
    summary: str  # one line that says which panel this is
    dataset: str
    ipc: int
    steps: int  # the number of incremental steps
    protocol: str = "gdumb"
    architecture: str
    orders: int = 5  # the number of class orders
    networks: int = 3  # the number of networks for each class order
    # CL_DM.py:84-96 reads one set for each step. This set was condensed from the classes of the step only.
    memory: str = "condensed[per-step]"
    order: str = "field"  # the class orders are NumPy's shuffles at seeds 0 to 4 (CL_DM.py:59-62)
    recipe: str = "dm"  # the recipe of the evaluation that CL_DM.py calls
    learning_rate: float = 0.01  # the learning rate of this evaluation
    buffer: int | None = None  # the fixed number of images in the memory; None: the memory grows with the classes
    differs: tuple[str, ...] = ()  # the departures that every run of ours has
    source: str  # the paper and the figure, and where the other settings come from

    def departures(self, ours: Mapping[str, object]) -> tuple[str, ...]:
        """Return one line for each setting in which a run differs from this panel.

        `ours` holds the settings of the run. Its keys are those of `theirs` below.
        """
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
        lines = [f"{name} {ours[name]} instead of {its}" for name, its in theirs.items() if ours[name] != its]
        return (*lines, *self.differs)


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

# The class order is that of `5steps_seed0` of DM (continual-learning/README.md and checkpoints/cifar100_order.pkl at
# ceac95a): order 0 of the field. The script runs it once (nb_runs 1).
PUBLISHED.add(
    Published(
        name="idc-cifar100",
        summary="IDC's Figure 7: CIFAR-100, IPC 20, 5 steps, one class order",
        dataset="cifar100",
        ipc=20,
        steps=5,
        protocol="idc",
        architecture="convnet3_w128",
        orders=1,
        networks=1,
        recipe="idc-cl",
        source="IDC (Kim et al. 2022), Figure 7: class-incremental learning on CIFAR-100, 20 images of each class; all "
        "other settings come from its continual-learning folder",
    )
)

# The command of SSD's README; all other settings are the defaults of its general_main.py (commit 7fe1000).
PUBLISHED.add(
    Published(
        name="ssd-cifar100",
        summary="SSD's command for CIFAR-100: 10 steps, a memory of 1,000 images, 10 class orders",
        dataset="cifar100",
        ipc=10,
        steps=10,
        protocol="scr",
        architecture="resnet18bn of width 20",
        orders=10,
        networks=1,
        memory="ssd[M=1000]",
        order="numpy's shuffles of its run",
        recipe="scr paper",
        learning_rate=0.1,
        buffer=1000,
        differs=(
            "the augmentation of the recipe instead of resized crops, flips, colour jitter and grey images",
            "images in the space of the set instead of pixels in 0..1; their learning rate is 16 times as large for it",
            "a part of the training images is held out for validation, unless the set says validation=0",
        ),
        source="SSD (Gu et al. 2024), README.md and general_main.py at 7fe1000",
    )
)
