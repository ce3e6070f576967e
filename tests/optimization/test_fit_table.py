"""What a fit tells of its parameters: bounds that hold, what is not told apart, the Jacobian's own bars, the table."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.errors import InputError
from distfd.optimization.fit_statistics import FitStatistics, held_by_bounds, slope_variance

T = np.linspace(0, 3, 15)
NAMES = ["amplitude", "rate", "offset"]


def model(t: Any, a: float, b: float, c: float) -> Any:
    return a * np.exp(-b * t) + c


Y = model(T, 2.0, 0.7, 0.3) + 0.02 * np.random.default_rng(3).standard_normal(len(T))


def residuals(p: Any) -> Any:
    return model(T, *p) - Y


def fit(fun: Any = residuals, x0: Any = (1.0, 0.3, 0.1), **options: Any) -> Any:
    return distfd.least_squares(fun, x0, executor="serial", **options)


def test_it_prints_as_a_table() -> None:
    assert repr(fit(names=NAMES)).splitlines() == [
        "least squares, converged: the cost fell by less than ftol in the last iteration",
        "",
        "15 residuals (standard deviation estimated from them), 3 parameters, 12 degrees of freedom",
        "chi2 0.0111589, reduced chi2 0.000929905, AIC -102.054",
        "",
        "             estimate  std. error   rel.         95 % interval",
        "amplitude   1.9905658     0.04056    2 %    [1.90219, 2.07894]",
        "rate       0.71945095     0.04041  5.6 %  [0.631405, 0.807497]",
        "offset     0.31511824     0.04571   15 %   [0.21552, 0.414717]",
        "",
        "correlations of 0.9 and more: rate, offset 0.9474",
        "6 iterations, 28 evaluations, 0 reused",
    ]


def test_one_of_a_thing_is_not_many_and_large_shares_are_plain_numbers() -> None:
    def linear(p: Any) -> Any:
        return np.array([p[0] - 1, p[1] * p[0] - 2, p[2], p[0] + p[2]])

    text = repr(fit(linear, (2.0, 3.0, 4.0), names=("a", "b", "c")))
    assert "4 residuals (standard deviation estimated from them), 3 parameters, 1 degree of freedom\n" in text
    assert "  141 %  " in text
    assert "1.4e+02" not in text


def test_the_numbers_are_those_of_their_formulas() -> None:
    found = fit()
    chi2 = float(np.sum(found.fun**2))
    statistics = found.statistics
    assert statistics.chi_square == pytest.approx(chi2)
    assert statistics.reduced_chi_square == pytest.approx(chi2 / 12)
    assert statistics.aic == pytest.approx(15 * np.log(chi2 / 15) + 6)
    assert found.r_squared(Y) == pytest.approx(1 - chi2 / np.sum((Y - Y.mean()) ** 2))
    assert FitStatistics(found.x, found.jac, found.cost, absolute_sigma=True).aic == pytest.approx(chi2 + 6)
    columns = found.table(0.9)
    assert columns["name"] == ["x0", "x1", "x2"]
    np.testing.assert_array_equal(columns["standard_error"], found.standard_errors)
    np.testing.assert_array_equal(columns["lower"], found.confidence_intervals(0.9)[:, 0])
    assert columns["bound"] == [None, None, None]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).covariance, found.covariance)
    robust = fit(loss="soft_l1")
    assert np.isnan(robust.statistics.aic)
    assert np.isnan(robust.r_squared(Y))
    assert "2 cost" in repr(robust)
    assert "AIC" not in repr(robust)


def test_r_squared_with_different_sigmas() -> None:
    sigma = np.linspace(0.01, 0.05, len(T))
    found = fit(lambda p: residuals(p) / sigma)
    mean = np.sum(Y / sigma**2) / np.sum(1 / sigma**2)
    expected = 1 - np.sum(found.fun**2) / np.sum(((Y - mean) / sigma) ** 2)
    assert found.r_squared(Y, sigma) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["trf", "dogbox", "model"])
def test_a_bound_that_holds_a_parameter_takes_it_out(method: Any) -> None:
    found = fit(bounds=([0, 0, 0], [10, 0.5, 1]), method=method)
    assert found.active_mask.tolist() == [0, 1, -1]
    assert found.optimality <= 1e-2 < abs(found.grad[1])
    alone, covariance = scipy.optimize.curve_fit(lambda t, a: model(t, a, 0.5, 0.0), T, Y)
    assert found.x[0] == pytest.approx(alone[0], rel=1e-5)
    assert found.standard_errors[0] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-4)
    assert np.isnan(found.standard_errors[1:]).all()
    assert np.isnan(found.confidence_intervals()[1:]).all()
    assert found.statistics.degrees_of_freedom == 14
    text = repr(found)
    assert "3 parameters, 2 of them at a bound, 14 degrees of freedom" in text
    assert "-  at its upper bound" in text
    assert "-  at its lower bound" in text
    assert found.table()["bound"] == [None, "upper", "lower"]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_bound_that_holds_nothing_changes_nothing(scale: float) -> None:
    def in_units(p: Any) -> Any:
        return residuals([p[0] / scale, p[1], p[2] / scale])

    start = np.array([scale, 0.3, 0.1 * scale])
    sizes = np.array([scale, 1.0, scale])
    bounded = fit(in_units, start, bounds=([0, 0, 0], [3 * scale, np.inf, np.inf]), x_scale=sizes)
    assert not bounded.active_mask.any()
    np.testing.assert_allclose(bounded.standard_errors / sizes, fit().standard_errors, rtol=1e-3)
    held = fit(in_units, start, bounds=([0, 0, 0], [np.inf, np.inf, 0.2 * scale]), x_scale=sizes)
    assert held.active_mask.tolist() == [0, 0, 1]


def test_a_fixed_parameter_is_no_estimate() -> None:
    found = fit(x0=[1.0, 0.7, 0.1], bounds=([0, 0.7, -1], [9, 0.7, 1]), method="model")
    assert found.statistics.degrees_of_freedom == 13
    assert np.isnan(found.standard_errors).tolist() == [False, True, False]
    all_fixed = fit(bounds=([1.0, 0.3, 0.1], [1.0, 0.3, 0.1]))
    assert np.isnan(all_fixed.standard_errors).all()
    assert "3 parameters, 3 of them fixed" in repr(all_fixed)
    assert "at a bound" not in repr(all_fixed)
    assert "3 parameters, 1 of them fixed, 13 degrees" in repr(found)
    assert "-  fixed" in repr(found)


def test_what_counts_as_held() -> None:
    x, lower, upper = np.array([0.0, 1.0, 0.5, 1e-9, 2.0]), np.zeros(5), np.array([1.0, 1.0, 1.0, np.inf, 2.0])
    lower[4] = 2.0
    sizes, curvature = np.array([1.0, 1.0, 1.0, 1e-9, 1.0]), np.ones(5)
    gradient = np.array([1.0, -1.0, 1.0, 1.0, 0.0])
    assert held_by_bounds(x, gradient, curvature, lower, upper, sizes).tolist() == [-1, 1, 0, 0, -1]
    # Where the cost falls into the range, the bound holds nothing.
    gradient = np.array([-1.0, 1.0, 1.0, 1.0, 0.0])
    assert held_by_bounds(x, gradient, curvature, lower, upper, sizes).tolist() == [0, 0, 0, 0, -1]
    # Nor does it where the least cost along the parameter is within the range, however near the bound.
    x, gradient = x + 1e-6 * (x == 0), np.array([0.9e-6, -1.0, 1.0, 1.0, 0.0])
    assert held_by_bounds(x, gradient, curvature, lower, upper, sizes).tolist() == [0, 1, 0, 0, -1]


@pytest.mark.parametrize("method", ["trf", "dogbox", "model"])
@pytest.mark.parametrize("upper", [1e3, np.inf])
def test_an_estimate_that_is_small_beside_its_range_is_not_at_a_bound(method: Any, upper: float) -> None:
    t = np.linspace(0, 100, 40)
    y = 5 * np.exp(-0.002 * t) + 0.01 * np.random.default_rng(0).normal(size=40)

    def decay(p: Any) -> Any:
        return p[0] * np.exp(-p[1] * t) - y

    wide = distfd.least_squares(decay, [1.0, 0.01], method=method, executor="serial")
    found = distfd.least_squares(decay, [1.0, 0.01], bounds=([0, 0], [1e3, upper]), method=method, executor="serial")
    assert found.active_mask.tolist() == [0, 0]
    assert found.statistics.degrees_of_freedom == 38
    assert found.standard_errors == pytest.approx(wide.standard_errors, rel=1e-3)


def test_a_noisy_column_hides_no_other() -> None:
    """One parameter that the noise of J hides all but is of no consequence to those that are well known."""
    t = np.linspace(0, 1, 50)
    y = 1 + 2 * t + 3 * t**2 + 0.01 * np.random.default_rng(0).normal(size=50)

    def rounded(p: Any) -> Any:
        model = p[0] + p[1] * t + p[2] * (t + 0.01 * t**2) + 1e-9 * p[3] * np.cos(9 * t)
        return np.round((model - y) * 1e9) / 1e9

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        found = distfd.least_squares(rounded, np.ones(4), step="auto", executor="serial")
    assert found.standard_errors[:3] == pytest.approx([0.0033, 1.5, 1.49], rel=0.05)
    assert not [name for group in found.not_told_apart for name in group if name != "x3"]


def test_r_squared_of_a_fit_that_knows_its_sigma_has_priors_and_lacks_data() -> None:
    t = np.linspace(0, 1, 10)
    y = 2 * t + 1 + 0.1 * np.random.default_rng(1).normal(size=10)

    def line(p: Any) -> Any:
        return p[0] + p[1] * t - y

    def lacking(p: Any) -> Any:
        return np.where(t == t[3], np.nan, line(p))

    plain = distfd.least_squares(line, [0.0, 0.0], executor="serial")
    expected = 1 - float(np.sum(plain.fun**2) / np.sum((y - y.mean()) ** 2))
    assert plain.r_squared(y) == pytest.approx(expected)
    known = distfd.least_squares(line, [0.0, 0.0], sigma=0.1, executor="serial")
    assert known.r_squared(y) == pytest.approx(expected)
    prior = distfd.least_squares(line, [0.0, 0.0], prior={"x0": {"value": 0.0, "sigma": 0.1}}, executor="serial")
    off = line(prior.x)
    assert prior.r_squared(y) == pytest.approx(1 - float(np.sum(off**2) / np.sum((y - y.mean()) ** 2)))
    with pytest.warns(distfd.DerivativeWarning, match="no value at output 3"):
        part = distfd.least_squares(lacking, [0.0, 0.0], on_failure="nan", executor="serial")
    rest = np.delete(y, 3)
    right = 1 - float(np.sum(part.fun**2) / np.sum((rest - rest.mean()) ** 2))
    assert (part.r_squared(y), part.r_squared(rest)) == pytest.approx((right, right))
    with pytest.raises(InputError, match="measured must have 10 numbers"):
        plain.r_squared(y[:4])


@pytest.mark.parametrize("absolute", [True, False])
def test_a_prior_of_a_parameter_at_its_bound_says_nothing_of_the_others(absolute: bool) -> None:
    data = np.array([0.3, -0.2, 0.9, 0.4, -1.1, 0.6])

    def mean(p: Any) -> Any:
        return p[0] - data + 0 * p[1]

    how: dict[str, Any] = {"absolute_sigma": absolute, "executor": "serial", "sigma": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        prior = {"x1": {"value": 3.0, "sigma": 1.0}}
        found = distfd.least_squares(mean, [0.0, 0.5], bounds=([-9, 0], [9, 1]), prior=prior, **how)
        alone = distfd.least_squares(lambda p: p[0] - data, [0.0], **how)
    assert found.active_mask.tolist() == [0, 1]
    assert found.standard_errors[0] == pytest.approx(alone.standard_errors[0])
    assert found.statistics.degrees_of_freedom == 5
    assert found.statistics.chi_square == pytest.approx(alone.statistics.chi_square)


def test_fewer_residuals_than_parameters_of_known_sigma() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        found = distfd.least_squares(
            lambda p: np.array([p[0] - 1, p[1] - 2]), [0.0, 0.0, 0.0], sigma=[0.1, 0.2], executor="serial"
        )
    assert found.standard_errors == pytest.approx([0.1, 0.2, np.inf])
    assert found.not_told_apart == [["x2"]]


@pytest.mark.filterwarnings("ignore:J did not change at all")
@pytest.mark.parametrize("scheme", ["forward", "central", "complex-step"])
def test_what_the_data_do_not_tell_apart_is_named(scheme: Any) -> None:
    def redundant(p: Any) -> Any:
        return model(T, p[0] * p[3] * 1e6, p[1], p[2]) + 0 * p[4] - Y

    names = [*NAMES, "gain", "idle"]
    found = fit(redundant, [1e-6, 0.3, 0.1, 1.0, 1.0], scheme=scheme, names=names, x_scale=[1e-6, 1, 1, 1, 1])
    assert found.not_told_apart == [["amplitude", "gain"], ["idle"]]
    errors = found.standard_errors
    assert np.isinf(errors).tolist() == [True, False, False, True, True]
    # The others have what they have without the redundant one (10 degrees of freedom in the place of 12).
    np.testing.assert_allclose(errors[1:3], fit().standard_errors[1:] * np.sqrt(12 / 10), rtol=1e-3)
    text = repr(found)
    assert "not told apart by the residuals: amplitude, gain" in text
    assert "without influence on the residuals: idle" in text
    assert "undetermined" in text
    assert found.statistics.condition > 1e6
    assert len(found.statistics.singular_values) == 5


def test_two_groups_are_two() -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((3, 12))
    statistics = FitStatistics(np.ones(6), np.stack([a, 1e8 * a, b, c, -b, a + 1e-3 * c], axis=1), 0.1)
    assert statistics.not_told_apart == [[0, 1, 3, 5], [2, 4]]
    easy = FitStatistics(np.ones(2), np.stack([a, a + 1e-5 * b], axis=1), 0.1)
    assert easy.not_told_apart == []
    assert np.isfinite(easy.standard_errors).all()


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    jacobian, sizes = rng.standard_normal((9, 3)), np.array([1e-12, 1.0, 1e12])
    plain, scaled = FitStatistics(np.ones(3), jacobian, 0.5), FitStatistics(np.ones(3), jacobian * sizes, 0.5)
    np.testing.assert_allclose(scaled.standard_errors * sizes, plain.standard_errors, rtol=1e-9)
    assert scaled.condition == pytest.approx(plain.condition)


def test_the_jacobians_bars_widen_the_errors_as_simulated_ones_do() -> None:
    """A linear fit that ends where (J + E)^T f is 0, for many E: its scatter is A^-1 D A^-1."""
    rng = np.random.default_rng(5)
    m, d = 40, 3
    jacobian, data = rng.standard_normal((m, d)), 3 * rng.standard_normal(m)
    x = np.asarray(np.linalg.lstsq(jacobian, data, rcond=None)[0], dtype=np.float64)
    f = jacobian @ x - data
    bars = rng.uniform(0.0, 0.05, (m, d))
    ends = []
    for _ in range(4000):
        e = bars / 1.96 * rng.standard_normal((m, d))
        ends.append(np.linalg.solve((jacobian + e).T @ jacobian, (jacobian + e).T @ data))
    cost = 0.5 * float(f @ f)
    whole = FitStatistics(x, jacobian, cost, slope_variance=slope_variance(f, bars))
    added: Any = whole.covariance - FitStatistics(x, jacobian, cost).covariance
    scatter = np.cov(np.array(ends).T)
    np.testing.assert_allclose(np.diag(added), np.diag(scatter), rtol=0.1)
    np.testing.assert_allclose(added, scatter, atol=0.1 * np.diag(scatter).max())


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_bars_of_a_noisy_fit_are_carried() -> None:
    def noisy(p: Any) -> Any:
        return residuals(p) + 1e-4 * np.sin(1e9 * float(np.sum(p)) + 1e5 * T)

    found = fit(noisy, step="auto")
    assert found.slope_variance.shape == (3,)
    without = FitStatistics(found.x, found.jac, found.cost)
    assert (found.standard_errors > without.standard_errors).all()
    assert fit().get("slope_variance") is None


def test_long_tables_show_their_ends_and_sparse_jacobians_are_taken() -> None:
    data = np.arange(1.0, 61.0)
    found = fit(lambda p: np.concatenate((p, p)) - np.concatenate((data, data + 0.1)), np.ones(60),
                sparsity=np.tile(np.eye(60), (2, 1)))  # fmt: skip
    lines = repr(found).splitlines()
    assert "... 24 more ..." in lines
    assert any(line.startswith("x29 ") for line in lines)
    assert not any(line.startswith("x30 ") for line in lines)
    assert any(line.startswith("x59 ") for line in lines)
    assert "60 degrees of freedom" in repr(found)
    np.testing.assert_allclose(found.x, data + 0.05, rtol=1e-6)


def test_too_few_residuals_and_no_jacobian() -> None:
    found = fit(lambda p: p - np.array([1.0, 2.0]), [0.0, 0.0])
    text = repr(found)
    assert "no standard errors: there are no more residuals than parameters" in text
    assert "reduced" not in text
    assert np.isnan(found.statistics.aic)
    nothing = type(found)(x=np.ones(2), cost=1.0, message="ended")
    assert "ended" in repr(nothing)


def test_r_squared_is_in_the_table_where_the_data_are_given() -> None:
    t = np.linspace(0, 1, 9)
    y = 2 * t + 1 + 0.1 * np.cos(9 * t)

    def residuals(x: Any) -> Any:
        return x[0] * t + x[1] - y

    result = distfd.least_squares(residuals, [1.0, 1.0], measured=y, executor="serial")
    expected = 1 - float(np.sum(result.fun**2)) / float(np.sum((y - y.mean()) ** 2))
    assert result.r_squared() == pytest.approx(expected)
    assert f"R2 {expected:.6g}" in str(result)
    without = distfd.least_squares(residuals, [1.0, 1.0], executor="serial")
    assert "R2" not in str(without)
    with pytest.raises(distfd.InputError, match="measured: R"):
        without.r_squared()
    wrong = distfd.least_squares(residuals, [1.0, 1.0], measured=y[1:], executor="serial")
    assert "no R2: " in str(wrong)
    with pytest.raises(distfd.InputError, match="measured: must be one-dimensional"):
        distfd.least_squares(residuals, [1.0, 1.0], measured=np.eye(9), executor="serial")


def test_a_table_says_that_its_errors_come_from_the_model() -> None:
    def residuals(x: Any) -> Any:
        return x[0] * np.exp(-x[1] * np.linspace(0, 3, 12)) - 2 * np.exp(-0.7 * np.linspace(0, 3, 12)) + 0.1

    def fit(limits: distfd.Limits | None = None) -> str:
        found = distfd.least_squares(residuals, [1.0, 0.2], method="model", slots=1, executor="serial", limits=limits)
        return str(found)

    told = "standard errors by the method's model of the residuals"
    assert told in fit(distfd.Limits(max_evaluations=7))
    assert told not in fit()
