"""RaT-BPTT: backpropagation through a window of training at a random place (Feng et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from satm.errors import ConfigError
from satm.methods.base import METHODS, augment_within
from satm.methods.real.config import RealLossConfig
from satm.methods.real.method import RealLossMethod
from satm.methods.real.window import RandomPlace, WindowRule


@dataclass(frozen=True, slots=True, kw_only=True)
class RaTBPTTConfig(RealLossConfig):
    """The settings of RaT-BPTT. Its outer loss is differentiated through only w = `window` inner steps, the window:

        F(φ) = L_CE(θ_{ι+w} on real images), differentiated through the inner steps ι … ι + w − 1

    θ_i are the parameters before inner step i. ι is the first step of the window. Each outer step draws a new ι,
    uniformly from `first_place` … N − w, with N = `inner_steps`. The inner loop ends after the last step of its window.
    It trains by Adam with a fixed step size α. The steps before the window also update Adam's moments.

    The numbers are those of RaT-BPTT's code (README.md and main.py of fengyzpku/Simple_Dataset_Distillation at
    7915c5a).
    """

    inner_steps: int = 200
    window: int | None = 60
    outer_steps: int = 600_000  # as many as 60,000 epochs of CIFAR-10 in batches of 5,000 images
    lr_images: float = 0.001
    step_size: float = 0.001
    init: Literal["real", "noise", "unit"] = "unit"
    augment: str | None = "flip_rotate"
    augment_real: str | None = "flip_rotate"
    clip: float | None = 2.0
    update: Literal["sgd", "momentum", "adam"] = "adam"
    batch_real: int = 5000
    first_place: int = 0  # the smallest ι

    def __post_init__(self) -> None:
        RealLossConfig.__post_init__(self)  # `super()` does not work in a dataclass with slots
        if not 0 <= self.first_place <= self.iota:
            raise ConfigError(
                f"first_place {self.first_place}: with {self.inner_steps} inner steps and a window of "
                f"{self.inner_steps - self.iota}, expected 0 to {self.iota}"
            )

    def resized(self, steps: int, window: int, **changes: Any) -> Self:
        """The same settings with `steps` inner steps and a window that is always at their end; see `UnrolledConfig`."""
        return replace(self, inner_steps=steps, window=window, first_place=steps - window, **changes)

    def window_rule(self) -> WindowRule:
        """The rule that draws ι; see `RealLossConfig`."""
        return RandomPlace(first=self.first_place, last=self.iota, size=self.inner_steps - self.iota)


METHODS.add(
    RealLossMethod(
        name="rat-bptt",
        summary="a window of training at a random place, on real images (Feng et al. 2024)",
        cite=("feng2024ratbptt",),
        config=RaTBPTTConfig,
        data_settings=augment_within(RaTBPTTConfig, "augment", "augment_real"),
    )
)
