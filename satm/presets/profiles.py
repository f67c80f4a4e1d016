"""The three profiles `paper`, `cpu` and `smoke`: scales of the work, given as limits on the printed numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from satm.engine import Engine
from satm.errors import UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How large the work of a preset is.

    Most fields are upper limits on the numbers of a printed row of hyper-parameters. A limit of None leaves the number
    of the row as it is. The symbols are: N inner steps, M epochs of the expert that one outer step matches, T the
    largest start epoch, α the step size of the inner loop.
    """

    name: str
    width: int  # the width of the ConvNet
    experts: int  # the largest number of experts
    outer_steps: int  # the largest number of outer steps
    recipe: str | None  # the recipe of the evaluation; None: the recipe of the method's publication
    max_inner_steps: int | None = None  # the largest N
    max_expert_epochs: int | None = None  # the largest M
    max_start_epoch: int | None = None  # the largest T
    max_batch_syn: int | None = None  # the largest number of synthetic images in one inner step
    max_zca_size: int | None = None  # the largest image side in pixels at which ZCA is used
    max_inner_images: int | None = None  # the largest product outer steps × N × mini-batch; it bounds the time
    image_step: float = 1.0  # a factor on `lr_images`, the learning rate of the images
    # The next two limits apply only if a row of another data set was chosen and the user did not name the row. The
    # other data set may have many times as many images. With the mini-batches of 256 of such a row, an epoch of an
    # expert on 9,000 images has too few steps to be matched, and α swings between its minimum and its start value. This
    # was seen on tiny-imagenet-20.
    max_borrowed_expert_batch: int | None = None
    max_borrowed_lr_step_size: float | None = None
    # The next two limits apply only to methods that match no trajectories.
    max_settings: Mapping[str, int] = field(default_factory=dict)  # maps the name of a setting to its largest value
    # The largest number of images that pass a network forwards and backwards, added over all steps. It bounds the time.
    max_images: int | None = None
    # Whether all trajectory methods use SATM's rows, so that only the method differs between them.
    shared_rows: bool = False
    class_orders: int = 5  # the number of class orders of a class-incremental evaluation; 5 is DM's number
    networks_an_order: int = 3  # the number of fresh networks for each class order; 3 is DM's number
    engine: Engine = "auto"  # how inner loops are differentiated (`--engine`)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="paper", width=128, experts=100, outer_steps=10_000, recipe=None, engine="prefer-higher"),
        Profile(
            name="cpu",
            width=32,
            experts=4,
            outer_steps=400,
            recipe="cpu",
            max_start_epoch=4,
            max_batch_syn=50,
            max_inner_images=240_000,
            max_zca_size=32,
            image_step=0.3,
            max_borrowed_expert_batch=32,
            max_borrowed_lr_step_size=1e-5,
            max_settings={"batch_real": 64, "inner_epochs": 5, "expert_epochs": 5},
            max_images=200_000,
            shared_rows=True,
        ),
        Profile(
            name="smoke",
            width=16,
            experts=2,
            outer_steps=20,
            recipe="smoke",
            max_inner_steps=10,
            max_expert_epochs=1,
            max_start_epoch=1,
            max_batch_syn=20,
            max_zca_size=32,
            image_step=0.3,
            max_borrowed_expert_batch=32,
            max_borrowed_lr_step_size=1e-5,
            max_settings={"batch_real": 16, "inner_epochs": 1, "expert_epochs": 1},
            max_images=4_000,
            shared_rows=True,
            class_orders=2,
            networks_an_order=1,
        ),
    )
}


CUSTOM = "custom"
"""The label of a preset of the profile `paper` in which a user changed settings, and of its results."""

FOREIGN = "foreign"
"""The label of sets that were not made by this suite, and of results on such sets if they are evaluated at paper scale.

This suite cannot check the scale at which these sets were made.
"""

# All labels, from the label that claims least to the label that claims most.
ORDER = ("smoke", "cpu", CUSTOM, FOREIGN, "paper")


def weaker(*names: str) -> str:
    """The label among `names` that claims least. A number that comes from results of several labels gets this one."""
    return min(names, key=ORDER.index)


def class_incremental_repeats(label: str) -> tuple[int, int]:
    """Two numbers for a class-incremental evaluation at the scale `label`: class orders, and networks for each order.

    The labels `custom` and `foreign` have the numbers of the profile `paper`.
    """
    profile = PROFILES.get(label, PROFILES["paper"])
    return profile.class_orders, profile.networks_an_order


def get_profile(name: str) -> Profile:
    """The profile called `name`. Raises UnknownName if there is no such profile."""
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]
