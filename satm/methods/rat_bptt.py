"""RaT-BPTT: backpropagation through a window of training at a random place (Feng et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from satm.errors import ConfigError
from satm.methods.base import METHODS, Traits
from satm.methods.real.config import RealLossConfig
from satm.methods.real.method import RealLossMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class RaTBPTTConfig(RealLossConfig):
    """F(φ) = L_CE(θ_{ι+w} on real images), differentiated through the w = `window` steps ι … ι + w − 1 only.

    ι is drawn anew at each outer step, uniformly from `first_place` … N − w, with N = `inner_steps`. The inner loop
    ends with its window. It trains by Adam at a fixed α, whose moments go through the early steps too. The numbers are
    those of RaT-BPTT's code (README.md and main.py of fengyzpku/Simple_Dataset_Distillation at 7915c5a).
    """

    inner_steps: int = 200
    window: int | None = 60
    outer_steps: int = 600_000  # 60,000 epochs of CIFAR-10 in batches of 5,000
    lr_images: float = 0.001
    step_size: float = 0.001
    init: Literal["real", "noise", "unit"] = "unit"
    augment: str | None = "flip_rotate"
    augment_real: str | None = "flip_rotate"
    clip: float | None = 2.0
    update: Literal["sgd", "momentum", "adam"] = "adam"
    batch_real: int = 5000
    first_place: int = 0

    def __post_init__(self) -> None:
        RealLossConfig.__post_init__(self)  # see `TrajectoryConfig`
        if not 0 <= self.first_place <= self.iota:
            raise ConfigError(
                f"first_place {self.first_place}: with {self.inner_steps} inner steps and a window of "
                f"{self.inner_steps - self.iota}, expected 0 to {self.iota}"
            )
        if getattr(self.outer, "tau", None) is not None:
            raise ConfigError("outer.tau: the window of rat-bptt has no fixed place; set outer.tau=null")

    def resized(self, steps: int, window: int, **changes: Any) -> Self:
        """See `UnrolledConfig`: the window is at the end."""
        return replace(self, inner_steps=steps, window=window, first_place=steps - window, **changes)

    def places(self) -> range:
        """See `RealLossConfig`."""
        return range(self.first_place, self.iota + 1)


def _augmentation(traits: Traits) -> Mapping[str, Any]:
    """Flips and rotations, without flips of images that they would change (digits)."""
    strategy = "flip_rotate" if "flip" in traits.augment else "rotate"
    return {"augment": strategy, "augment_real": strategy}


METHODS.add(
    RealLossMethod(
        name="rat-bptt",
        summary="a window of training at a random place, on real images (Feng et al. 2024)",
        cite=("feng2024ratbptt",),
        config=RaTBPTTConfig,
        data_settings=_augmentation,
    )
)
