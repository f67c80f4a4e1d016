"""How long the perturbation ε of a sharpness-aware rule is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError

LONGEST = 1.0  # r above this would move the images further than they are long


@dataclass(frozen=True, slots=True)
class Length:
    """‖ε‖₂, over the whole set:

        ‖ε‖₂ = r ‖φ‖₂   if `radius` is set
        ‖ε‖₂ = ρ        if `rho` is set; with `elementwise`, ‖T⁻¹ε‖₂ = ρ, as `ASAM` scales the pixels by T

    r has no unit, so that one value suits every pixel space and IPC. ρ has the unit of the pixels. If `ramp` is s > 0,
    the length is multiplied by min(1, p/s). p is the share of the outer steps that are done.

    Exactly one of `radius` and `rho` is a number. Raises ConfigError if both are, and unless r and s lie in 0 … 1 and ρ
    is finite and not negative.
    """

    radius: float | None  # r
    rho: float | None  # ρ
    ramp: float = 0.0  # s; 0: the length is constant
    elementwise: bool = False  # ρ is relative to each pixel

    def __post_init__(self) -> None:
        if self.radius is not None and self.rho is not None:
            raise ConfigError(
                f"outer.radius {self.radius:g} and outer.rho {self.rho:g}: both say how long the perturbation is; "
                "give one of them"
            )
        if self.radius is not None and not 0 <= self.radius <= LONGEST:
            raise ConfigError(
                f"outer.radius {self.radius:g}: expected 0 to {LONGEST:g}, the perturbation's length as a share of "
                "the norm of the images; set outer.rho for a length in pixel units"
            )
        if self.rho is not None and not 0 <= self.rho < math.inf:
            raise ConfigError(f"outer.rho {self.rho:g}: expected a finite number of 0 or more")
        if not 0 <= self.ramp <= 1:
            raise ConfigError(f"outer.ramp {self.ramp:g}: expected 0 to 1, a share of the outer steps")

    def of(self, norm: float, progress: float = 1.0) -> float:
        """‖ε‖₂ for images with ‖φ‖₂ = `norm`, after the share `progress` (p) of the outer steps.

        It is ‖T⁻¹ε‖₂ if ρ is element-wise.
        """
        risen = min(1.0, progress / self.ramp) if self.ramp else 1.0
        if self.radius is not None:
            return risen * self.radius * norm
        assert self.rho is not None  # checked above
        return risen * self.rho

    @property
    def off(self) -> bool:
        """Whether the length is 0, by choice."""
        return not (self.rho if self.radius is None else self.radius)

    def setting(self) -> str:
        """The setting that decides, and its value: `outer.radius 0.05`."""
        return f"outer.rho {self.rho:g}" if self.radius is None else f"outer.radius {self.radius:g}"

    def spell(self, norm: float) -> str:
        """Both lengths for images with ‖φ‖₂ = `norm`: `r 0.05, ρ 2.15`. An element-wise ρ has no r."""
        length = self.of(norm)
        if self.elementwise and self.radius is None:
            return f"ρ {length:.3g}, relative to each pixel"
        share = length / norm if norm > 0 else math.inf
        return f"r {share:.3g}, ρ {length:.3g}"
