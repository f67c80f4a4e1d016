"""The crossed mean: closed forms, simulated coverage, a mixed model, and designs that cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from satm.errors import ConfigError
from satm.statistics import common, crossed, fullest
from tests.satm.statistics.simulation import MEAN, coverage, crossed_tables


def errors(tables):
    """The standard errors and degrees of freedom of many tables."""
    found = [crossed(table) for table in tables]
    return np.array([each.se for each in found]), np.array([each.freedom for each in found])


def test_by_hand():
    """ȳ = 4; seed means 2, 4, 6; network means 3, 5; the rest is ±1 in the first two rows.

    MS_S = 2·8/2 = 8, MS_N = 3·2/1 = 6, MS_E = 4/2 = 2: V = 12, SE² = 12/6, df = 144/(64/2 + 36/1 + 4/2).
    """
    found = crossed([[2, 2], [2, 6], [5, 7]])
    assert (found.mean, found.seeds, found.networks, found.n, found.counts) == (4, 3, 2, 3, "condensations")
    assert found.se == pytest.approx(math.sqrt(2))
    assert found.freedom == pytest.approx(144 / 70)
    assert found.between_condensations == pytest.approx(math.sqrt(3))  # (8 − 2)/2
    assert found.between_networks == pytest.approx(math.sqrt(4 / 3))  # (6 − 2)/3
    assert found.rest == pytest.approx(math.sqrt(2))
    assert found.std_of_means == pytest.approx(2)  # of 2, 4, 6
    assert found.scope == "new condensations and new networks"


def test_satterthwaite_by_formula():
    """MS_S = 3·10, MS_N = 4·9 and MS_E = 2 of a 4 × 3 table: V = 64, with 3, 2 and 6 df."""
    seeds = np.array([-1.0, -1, 1, 1]) * math.sqrt(7.5)
    rest = np.array([[1.0, -1, 0], [-1, 1, 0], [1, 0, -1], [-1, 0, 1]]) * math.sqrt(1.5)
    found = crossed(seeds[:, None] + np.array([-3.0, 0, 3]) + rest)
    assert found.se == pytest.approx(math.sqrt(64 / 12))
    assert found.freedom == pytest.approx(64**2 / (30**2 / 3 + 36**2 / 2 + 2**2 / 6))


def test_variance_is_at_least_the_larger_mean_square():
    """Mean squares below MS_E: V is the larger one, with that one's own df, and components are 0."""
    noise = np.array([[2.0, -1, -1], [-1, 2, -1], [-1, -1, 2], [1, -1, 0], [-1, 1, 0]])  # no effect of either
    y = noise + np.array([0.1, 0, 0.2, -0.1, 0])[:, None]
    ms_s = 3 * y.mean(axis=1).var(ddof=1)
    found, turned = crossed(y), crossed(y.T)
    assert found.se == turned.se == pytest.approx(math.sqrt(ms_s / 15))
    assert found.freedom == turned.freedom == 4  # the larger side's own, above min(S, R) − 1 = 2
    assert (found.between_condensations, found.between_networks) == (0, 0)
    shifted = crossed(noise + np.array([0.1, 0, 0.2]))  # MS_N is the larger: R − 1
    assert shifted.se == pytest.approx(math.sqrt(5 * 0.01 / 15))
    assert shifted.freedom == 2


def test_freedom_is_at_least_that_of_the_smaller_side():
    """Large MS_E: Satterthwaite's 3.4 df is less than the 4 that five seeds and networks have."""
    y = crossed_tables(5, 5, (1, 1, 1), 500)
    _, freedom = errors(y)
    assert freedom.min() == 4
    assert (freedom > 4.01).mean() > 0.3


@pytest.mark.parametrize(
    ("seeds", "networks", "sds"),
    [
        (3, 5, (4, 1.8, 3)),  # digits at smoke: variances 15.8, 3.1 and 9.3
        (6, 12, (4, 1.8, 3)),
        (5, 5, (1, 1, 1)),
        (3, 10, (0.5, 3, 1)),
        (3, 3, (0, 0, 1)),
        (10, 5, (1, 0, 0)),
    ],
)
def test_coverage_of_a_crossed_design(seeds, networks, sds):
    y = crossed_tables(seeds, networks, sds, 4000)
    assert 0.94 <= coverage(y.mean(axis=(1, 2)), *errors(y)) <= 0.995


def test_networks_of_one_set_say_too_little_about_the_method():
    """What the suite printed before: the interval of one set's networks covers the method's mean in half the cases."""
    y = crossed_tables(6, 12, (4, 1.8, 3), 2000)[:, 0]
    assert coverage(y.mean(axis=1), y.std(axis=1, ddof=1) / math.sqrt(12), 11) < 0.6


def test_the_interval_is_symmetric():
    found = crossed(crossed_tables(4, 3, (1, 2, 1), 1)[0])
    assert found.low is not None
    assert found.high == pytest.approx(2 * found.mean - found.low)


def test_components_are_those_of_the_design():
    found = [crossed(table) for table in crossed_tables(20, 20, (4, 1.8, 3), 50)]
    assert np.mean([each.between_condensations**2 for each in found]) == pytest.approx(16, rel=0.1)
    assert np.mean([each.between_networks**2 for each in found]) == pytest.approx(3.24, rel=0.15)
    assert np.mean([each.rest**2 for each in found]) == pytest.approx(9, rel=0.05)


def test_a_mixed_model_agrees():
    """On a balanced design with components above 0, REML is the method of moments, and so is the mean's error."""
    pandas = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    y = crossed_tables(8, 6, (4, 3, 2), 1)[0]
    seeds, networks = np.indices(y.shape)
    frame = pandas.DataFrame({"y": y.ravel(), "seed": seeds.ravel(), "network": networks.ravel(), "all": 1})
    parts = {"seed": "0 + C(seed)", "network": "0 + C(network)"}
    model = formula.mixedlm("y ~ 1", frame, groups="all", vc_formula=parts, re_formula="0").fit(method="lbfgs")
    found = crossed(y)
    variances = dict(zip(model.model.exog_vc.names, model.vcomp, strict=True))
    assert found.mean == pytest.approx(model.fe_params.iloc[0])
    assert found.se == pytest.approx(model.bse_fe.iloc[0], rel=1e-3)
    assert found.between_condensations == pytest.approx(variances["seed"] ** 0.5, rel=1e-3)
    assert found.between_networks == pytest.approx(variances["network"] ** 0.5, rel=1e-3)
    assert found.rest == pytest.approx(model.scale**0.5, rel=1e-3)


def test_one_set_speaks_of_itself_only():
    found = crossed([[0.5, 0.6, 0.7]])
    assert (found.scope, found.n, found.counts, found.seeds) == ("this set only", 3, "networks", 1)
    assert found.se == pytest.approx(0.1 / math.sqrt(3))
    assert found.freedom == 2
    assert (found.between_condensations, found.between_networks) == (None, pytest.approx(0.1))


def test_one_network_speaks_of_itself_only():
    found = crossed([[0.5], [0.6], [0.7]])
    assert (found.scope, found.n, found.counts, found.networks) == ("this network only", 3, "condensations", 1)
    assert (found.between_condensations, found.between_networks) == (pytest.approx(0.1), None)


def test_fewer_than_three_units_have_no_interval():
    for y in ([[0.5]], [[0.5, 0.6]], [[0.5], [0.6]], [[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]]):
        found = crossed(y)
        assert (found.low, found.high, found.ends(0.5), found.p()) == (None, None, None, None)
    assert (crossed([[0.5]]).se, crossed([[0.5]]).freedom) == (None, None)
    assert crossed([[0.5, 0.6], [0.4, 0.5], [0.6, 0.6]]).low is not None


def test_equal_values_have_no_spread():
    found = crossed(np.full((3, 4), 0.1))
    assert (found.mean, found.se, found.low, found.high) == (0.1, 0, 0.1, 0.1)
    assert (found.between_condensations, found.between_networks, found.rest) == (0, 0, 0)
    assert found.freedom == 2
    assert crossed(np.full((4, 3), 0.1)).freedom == 3  # the condensations' own
    assert found.p() == 0
    assert crossed(np.zeros((3, 4))).p() == 1


def test_rounding_is_no_spread():
    y = np.array([[0.1 + 0.2, 0.3], [0.3, 0.3], [0.3, 0.3]])
    assert crossed(y).se == 0
    assert crossed(0.3 + 1e-9 * np.arange(6).reshape(3, 2)).se > 0


def test_the_p_value_and_the_interval_agree():
    """The interval at level 1 − p ends at 0."""
    found = crossed([[0.1, 0.2, 0.15], [0.05, 0.1, 0.2], [-0.02, 0.04, 0.1]])
    low, high = found.ends(1 - found.p())
    assert low == pytest.approx(0, abs=1e-9)
    assert high == pytest.approx(2 * found.mean)


def test_bad_tables_are_refused():
    with pytest.raises(ConfigError, match=r"rows of different lengths.*`common`"):
        crossed([[0.1, 0.2], [0.3]])
    with pytest.raises(ConfigError, match=r"1 of 4 values are no number"):
        crossed([[0.1, math.nan], [0.3, 0.4]])
    with pytest.raises(ConfigError, match="in no rows: expected a table"):
        crossed([0.1, 0.2])
    with pytest.raises(ConfigError, match="no values: expected a table"):
        crossed([])


def test_groups_are_reduced_to_what_they_share():
    first = {0: {0: 0.1, 1: 0.2, 2: 0.3}, 1: {0: 0.4, 1: 0.5}, 7: {0: 0.9, 1: 0.9}}
    second = {1: {1: 0.7, 0: 0.6}, 0: {0: 0.8, 1: 0.9}}
    found = common(first, second)
    assert (found.seeds, found.networks, found.left_out) == ((0, 1), (0, 1), 3)
    assert found.tables[0] == ((0.1, 0.2), (0.4, 0.5))
    assert found.tables[1] == ((0.8, 0.9), (0.6, 0.7))
    assert common({0: {3: 0.5}}).tables[0] == ((0.5,),)
    with pytest.raises(ConfigError, match=r"seeds \[0\] and \[1\] share no seed"):
        common({0: {0: 0.1}}, {1: {0: 0.1}})
    with pytest.raises(ConfigError, match=r"seeds \[0\] share no network"):
        common({0: {0: 0.1}}, {0: {1: 0.1}})
    with pytest.raises(ConfigError, match="no group"):
        common()


def test_the_true_mean_is_what_simulations_are_about():
    assert crossed_tables(50, 50, (0.1, 0.1, 0.1), 20).mean() == pytest.approx(MEAN, abs=0.02)


def test_a_half_judged_seed_does_not_cost_the_others_their_networks():
    whole = dict.fromkeys(range(5), 0.5)
    found = fullest({0: whole, 1: whole, 2: {0: 0.5}, 3: whole}, dict.fromkeys(range(5), whole))
    assert (found.seeds, found.networks, found.left_out) == ((0, 1, 3), tuple(range(5)), 1 + 5 + 5)
    few = fullest({0: whole, 1: whole, 2: {0: 0.5}})
    assert (few.seeds, few.networks) == ((0, 1, 2), (0,))  # three seeds can tell, two cannot
    assert fullest({0: whole}, {1: whole}) is None
    assert fullest({0: {0: 1.0}}, {0: {1: 1.0}}) is None
