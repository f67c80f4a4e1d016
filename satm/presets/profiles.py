"""The three scales that a preset runs at, as limits on the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from satm.engine import Engine
from satm.errors import UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A scale. A limit of null means: as the row says."""

    name: str
    width: int  # of the ConvNet
    experts: int
    outer_steps: int  # at most
    recipe: str | None  # evaluation; null: the recipe of the method
    max_inner_steps: int | None = None  # N at most
    max_expert_epochs: int | None = None  # M at most
    max_start_epoch: int | None = None  # T at most
    max_batch_syn: int | None = None  # synthetic images an inner step at most
    max_zca_size: int | None = None  # no ZCA on larger images (pixels a side)
    max_inner_images: int | None = None  # outer steps × N × mini-batch at most; bounds the time
    image_step: float = 1.0  # factor on lr_images
    # At most, if the row belongs to another data set, which may be many times as large. With mini-batches of 256 an
    # epoch of 9,000 images is too short to match, and α swings between its minimum and its start (tiny-imagenet-20).
    max_borrowed_expert_batch: int | None = None
    max_borrowed_lr_step_size: float | None = None
    # Limits of the methods that match no trajectories.
    max_settings: Mapping[str, int] = field(default_factory=dict)  # at most, by the name of the setting
    max_images: int | None = None  # that pass a network forwards and backwards in all steps; bounds the time
    shared_rows: bool = False  # all trajectory methods take SATM's rows, so that they differ only in the method
    class_orders: int = 5  # of a class-incremental evaluation; DM's number
    networks_an_order: int = 3  # fresh networks for each class order; DM's number
    engine: Engine = "auto"  # how inner loops are differentiated


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
"""The label of numbers at paper scale whose settings were changed by hand."""

FOREIGN = "foreign"
"""The label of sets made elsewhere, whose scale this suite cannot check, and of numbers at paper scale on them."""

ORDER = ("smoke", "cpu", CUSTOM, FOREIGN, "paper")


def weaker(*names: str) -> str:
    """The label that claims least. A number that comes from several scales has this label."""
    return min(names, key=ORDER.index)


def class_incremental_repeats(label: str) -> tuple[int, int]:
    """Class orders of a class-incremental evaluation at this label, and networks for each order.

    `custom` and `foreign` have the numbers of `paper`.
    """
    profile = PROFILES.get(label, PROFILES["paper"])
    return profile.class_orders, profile.networks_an_order


def get_profile(name: str) -> Profile:
    """The profile of that name. Raises UnknownName."""
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]
