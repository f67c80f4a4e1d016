"""AT-BPTT: backpropagation through a window whose place and size the gradients choose (Li et al. 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from satm.errors import ConfigError
from satm.methods.base import METHODS, augment_within
from satm.methods.real.automatic import AutomaticWindow, StageEnd
from satm.methods.real.config import RealLossConfig
from satm.methods.real.method import RealLossMethod
from satm.methods.real.window import WindowRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ATBPTTConfig(RealLossConfig):
    """The settings of AT-BPTT. It is RaT-BPTT (`RaTBPTTConfig`), except for the place and the size of the window.

    `AutomaticWindow` has the equations of the window and of the stages. The window has W − d … W + d inner steps, with
    W = `window` and d = `spread`. The numbers are those of AT-BPTT's code (README.md, main.py and framework/ of
    GH209515338/AT-BPTT at fc55875).
    """

    inner_steps: int = 200
    window: int | None = 40
    spread: int = 10  # d: the window has at most so many inner steps more or fewer than `window`
    window_every: int = 10  # outer steps of an epoch, which have the same window; 50,000 images in batches of 5,000
    rise_early: float = 1.5  # an epoch is calm if the accuracy on real images rises by fewer points than this
    patience_early: int = 30  # the early stage ends after so many calm epochs in a row; 0.15 N in the code
    rise_middle: float = 1.0  # as `rise_early`, in the middle stage
    patience_middle: int = 25  # as `patience_early`, for the middle stage; 0.125 N in the code
    outer_steps: int = 600_000  # as many as 60,000 epochs of CIFAR-10 in batches of 5,000 images
    lr_images: float = 0.001
    step_size: float = 0.001
    init: Literal["real", "noise", "unit"] = "unit"
    augment: str | None = "flip_rotate"
    augment_real: str | None = "flip_rotate"
    clip: float | None = 2.0
    update: Literal["sgd", "momentum", "adam"] = "adam"
    batch_real: int = 5000

    def __post_init__(self) -> None:
        RealLossConfig.__post_init__(self)  # `super()` does not work in a dataclass with slots
        window = self.inner_steps - self.iota
        most = min(window - 1, self.inner_steps - window)
        if not 0 <= self.spread <= most:
            raise ConfigError(
                f"spread {self.spread}: with {self.inner_steps} inner steps and a window of {window}, expected 0 to "
                f"{most}, so that the window keeps 1 to {self.inner_steps} steps"
            )
        for name in ("window_every", "patience_early", "patience_middle"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)}: expected at least 1")
        for name in ("rise_early", "rise_middle"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} {getattr(self, name)}: expected a finite number of points")

    def window_rule(self) -> WindowRule:
        """The rule that chooses the window by the stage and by the gradients; see `RealLossConfig`."""
        return AutomaticWindow(
            steps=self.inner_steps,
            size=self.inner_steps - self.iota,
            spread=self.spread,
            every=self.window_every,
            early=StageEnd(self.rise_early, self.patience_early),
            middle=StageEnd(self.rise_middle, self.patience_middle),
        )

    def resized(self, steps: int, window: int, **changes: Any) -> ATBPTTConfig:
        """The same settings with `steps` inner steps and a window that is always at their end; see `UnrolledConfig`."""
        same = {each.name: getattr(self, each.name) for each in fields(self)} | changes
        return _Resized(**same | {"inner_steps": steps, "window": window, "spread": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resized(ATBPTTConfig):
    """`ATBPTTConfig` with a window that is always at the end of the inner loop, and without probes."""

    def window_rule(self) -> WindowRule:
        """See `RealLossConfig`."""
        return RealLossConfig.window_rule(self)


METHODS.add(
    RealLossMethod(
        name="at-bptt",
        summary="a window of training that the gradients place, on real images (Li et al. 2025)",
        cite=("li2025atbptt", "feng2024ratbptt"),
        config=ATBPTTConfig,
        data_settings=augment_within(ATBPTTConfig, "augment", "augment_real"),
    )
)
