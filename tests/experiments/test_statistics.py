import math

import numpy as np
import pytest

from minigrad.experiments.statistics import summarize, t_quantile


# A printed table of Student's t: (degrees of freedom, 0.95, 0.975, 0.995).
@pytest.mark.parametrize(("df", "quantiles"), [(1, (6.3138, 12.7062, 63.6567)), (2, (2.9200, 4.3027, 9.9248)),
                                               (4, (2.1318, 2.7764, 4.6041)), (9, (1.8331, 2.2622, 3.2498)),
                                               (30, (1.6973, 2.0423, 2.7500))])
def test_quantiles_are_the_printed_ones(df, quantiles):
    for p, expected in zip((0.95, 0.975, 0.995), quantiles, strict=True):
        assert t_quantile(p, df) == pytest.approx(expected, abs=2e-4)


def test_interval_by_hand():
    s = summarize([1.0, 2.0, 4.0])                  # s² = 7/3
    assert s.mean == pytest.approx(7 / 3) and s.half == pytest.approx(4.30265 * math.sqrt(7 / 3 / 3), rel=1e-5)
    assert (s.low, s.high, s.n) == (s.mean - s.half, s.mean + s.half, 3)


def test_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [s.low <= 0 <= s.high for s in (summarize(rng.standard_normal(4)) for _ in range(2000))]
    assert 0.935 < np.mean(hits) < 0.965


def test_one_value_has_no_interval():
    assert math.isnan(summarize([0.25]).half) and summarize([0.25]).percent() == "25.0"


@pytest.mark.parametrize("values", [[]])
def test_no_values(values):
    with pytest.raises(ValueError, match="at least one value"):
        summarize(values)


@pytest.mark.parametrize(("p", "df"), [(0.4, 3), (1.0, 3), (0.9, 0)])
def test_impossible_quantiles(p, df):
    with pytest.raises(ValueError, match="t_quantile needs"):
        t_quantile(p, df)
