"""Coverage and diversity: numbers by hand, and the mean that the choice of k promises."""

from __future__ import annotations

import pytest
import torch

from evaluation.feature_scores import coverage, diversity, neighbours
from satm.errors import ShapeError


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_coverage_counts_the_real_images_with_one_of_the_set_near() -> None:
    real = line(0, 1, 2, 10, 11, 12)
    # k for 6 real images and 3 others, by hand: 1 − 5/8·4/7·3/6·2/5·1/4 = 0.98 at k = 5; at k = 4 it is 0.93.
    assert neighbours(6, 3) == 5
    assert coverage(real, line(0.5, 1.5, 2.5)) == 1.0
    # Two real images and many others: k = 1, the radius is 1 for both.
    assert neighbours(2, 40) == 1
    assert coverage(line(0, 1), line(*[-0.5] * 40)) == 0.5
    assert coverage(line(0, 1), line(*[0.9] * 40)) == 1.0
    assert coverage(line(0, 1), line(*[9.0] * 40)) == 0.0


def test_as_many_real_images_cover_95_percent() -> None:
    draws = torch.Generator().manual_seed(0)
    found = [coverage(torch.randn(200, 3, generator=draws), torch.randn(20, 3, generator=draws)) for _ in range(40)]
    assert sum(found) / len(found) == pytest.approx(0.95, abs=0.02)
    # A set of one kind of image leaves the others out.
    assert coverage(torch.randn(200, 3, generator=draws), torch.zeros(20, 3) + 2) < 0.8


def test_diversity_is_the_effective_number_of_images() -> None:
    assert diversity(torch.eye(5)) == pytest.approx(1.0)
    assert diversity(torch.ones(5, 3)) == pytest.approx(1 / 5)
    assert diversity(torch.eye(2).repeat(3, 1)) == pytest.approx(2 / 6)  # more images than features
    assert diversity(3 * torch.eye(5)) == pytest.approx(1.0)  # only directions count


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="equally many features"):
        coverage(torch.zeros(4, 2), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="expected"):
        diversity(torch.zeros(0, 3))
