"""The length of the perturbation ε of a sharpness-aware rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from satm.errors import ConfigError

LONGEST = 1.0  # the largest allowed radius r: with a larger r, ε is longer than the images φ are


@dataclass(frozen=True, slots=True)
class Length:
    """The length ‖ε‖₂ of the perturbation, with norms over the whole set of images φ:

        ‖ε‖₂ = r ‖φ‖₂   if `radius` is set
        ‖ε‖₂ = ρ        if `rho` is set and `elementwise` is false
        ‖T⁻¹ε‖₂ = ρ     if `rho` is set and `elementwise` is true; T is the diagonal matrix of `ASAM`

    r has no unit, so that the same value suits every preprocessing of the pixels and every number of images per class.
    ρ has the unit of the pixels, or no unit if `elementwise` is true. If the ramp s is above 0, the length is
    multiplied by min(1, p/s), where p is the share of the outer steps that are done.

    Exactly one of `radius` and `rho` is a number. Raises ConfigError if both are numbers, if r or s is outside 0 … 1,
    or if ρ is negative or not finite.
    """

    radius: float | None  # r, or None if `rho` is set
    rho: float | None  # ρ, or None if `radius` is set
    ramp: float = 0.0  # the ramp s; 0: the length is constant
    elementwise: bool = False  # True: ρ is ‖T⁻¹ε‖₂, in which each entry of ε is relative to its pixel

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
        """The length ‖ε‖₂ for images with ‖φ‖₂ = `norm`, after the share p = `progress` of the outer steps.

        If `rho` is set and `elementwise` is true, the number is ‖T⁻¹ε‖₂ instead.
        """
        risen = min(1.0, progress / self.ramp) if self.ramp else 1.0
        if self.radius is not None:
            return risen * self.radius * norm
        assert self.rho is not None  # because `radius` is None; for the type checker
        return risen * self.rho

    @property
    def off(self) -> bool:
        """Whether the user has set the length to 0."""
        return not (self.rho if self.radius is None else self.radius)

    def setting(self) -> str:
        """The name and the value of the setting that decides the length, such as `outer.radius 0.05`."""
        return f"outer.rho {self.rho:g}" if self.radius is None else f"outer.radius {self.radius:g}"

    def spell(self, norm: float) -> str:
        """The length for images with ‖φ‖₂ = `norm`, as r and as ρ: `r 0.05, ρ 2.15`. No r if ρ is ‖T⁻¹ε‖₂."""
        length = self.of(norm)
        if self.elementwise and self.radius is None:
            return f"ρ {length:.3g}, relative to each pixel"
        share = length / norm if norm > 0 else math.inf
        return f"r {share:.3g}, ρ {length:.3g}"
