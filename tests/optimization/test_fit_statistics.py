"""Statistics of a fit, against scipy.optimize.curve_fit, formulas written out, and simulated data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import distfd
from distfd.optimization.fit_statistics import FitStatistics

T = np.linspace(0, 3, 15)


def model(t: Any, a: float, b: float) -> Any:
    return a * np.exp(-b * t)


def fitted(data: Any, absolute: bool = False) -> FitStatistics:
    found = scipy.optimize.least_squares(lambda p: model(T, *p) - data, [1.0, 0.3])
    return FitStatistics(found.x, found.jac, found.cost, absolute)


@pytest.mark.parametrize("absolute", [False, True])
def test_scipys_covariance_and_the_intervals_formula(absolute: bool) -> None:
    data = model(T, 2.0, 0.7) + 0.05 * np.random.default_rng(3).standard_normal(len(T))
    sigma = np.ones(len(T))
    _, theirs = scipy.optimize.curve_fit(model, T, data, [1.0, 0.3], sigma, absolute, method="trf")
    ours = fitted(data, absolute)
    np.testing.assert_allclose(ours.covariance, theirs, rtol=1e-4)
    np.testing.assert_allclose(ours.standard_errors, np.sqrt(np.diag(theirs)), rtol=1e-4)
    np.testing.assert_allclose(np.diag(ours.correlation), 1.0)
    factor = scipy.stats.norm.ppf(0.95) if absolute else scipy.stats.t.ppf(0.95, 13)
    half = np.diff(ours.confidence_intervals(0.9), axis=1)[:, 0] / 2
    np.testing.assert_allclose(half, factor * ours.standard_errors)


def test_intervals_hold_the_truth() -> None:
    truth, rng = np.array([2.0, 0.7]), np.random.default_rng(5)
    held = []
    for _ in range(200):
        ends = fitted(model(T, *truth) + 0.02 * rng.standard_normal(len(T))).confidence_intervals()
        held.append((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    assert 0.93 <= np.mean(held) <= 0.97


def test_what_is_not_known_is_infinite() -> None:
    twins = FitStatistics(np.ones(2), np.ones((5, 2)), 0.1)
    assert np.isinf(twins.standard_errors).all()
    assert np.isnan(twins.correlation).all()
    square = FitStatistics(np.ones(2), np.eye(2), 0.0)
    assert square.confidence_intervals().tolist() == [[-np.inf, np.inf]] * 2
    with pytest.raises(distfd.InputError, match=r"level: must be between 0 and 1.*was 95"):
        twins.confidence_intervals(95)


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
def test_least_squares_tells_what_curve_fit_does(loss: str) -> None:
    data = model(T, 2.0, 0.7) + 0.05 * np.random.default_rng(3).standard_normal(len(T))
    options: dict[str, Any] = {"loss": loss, "f_scale": 0.05}
    theirs = scipy.optimize.least_squares(lambda p: model(T, *p) - data, [1.0, 0.3], **options)
    found = distfd.least_squares(lambda p: model(T, *p) - data, [1.0, 0.3], executor="serial", **options)
    np.testing.assert_allclose(found.jac, theirs.jac, rtol=1e-3, atol=1e-4)
    _, covariance = scipy.optimize.curve_fit(model, T, data, [1.0, 0.3], method="trf", **options)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-3)
    np.testing.assert_allclose(found.standard_errors**2, np.diag(covariance), rtol=1e-3)
    assert found.residuals.tolist() == found.fun.tolist()
    assert (found.confidence_intervals(0.5)[:, 0] > found.confidence_intervals(0.99)[:, 0]).all()
    assert found.correlation[0, 1] == pytest.approx(
        covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), rel=1e-3
    )


@pytest.mark.parametrize("step", [1e-2, 5e-3])
def test_what_a_coarse_step_does_not_tell_apart_is_named(step: float) -> None:
    """A plate's deflection goes by E t^3 alone, as its program prints it with 7 digits."""
    load = np.linspace(1.0, 3.0, 8)

    def residuals(p: np.ndarray) -> np.ndarray:
        stiffness = p[0] * p[1] ** 3
        return np.asarray(np.round(11.0 * load / stiffness, 5) - np.round(11.0 * load / 1.03, 5))

    found = distfd.least_squares(
        residuals, [1.0, 1.0], names=["E", "t"], scheme="central", step=step, executor="serial", check=False
    )
    assert found.not_told_apart == [["E", "t"]]
    assert np.isinf(found.standard_errors).all()


def test_a_coarse_step_tells_apart_what_is_well_told() -> None:
    load = np.linspace(1.0, 3.0, 8)
    found = distfd.least_squares(
        lambda p: p[0] * load ** p[1] - 2.0 * load**1.5 + 0.01 * np.cos(9 * load),
        [1.9, 1.4],
        scheme="central",
        step=1e-2,
        executor="serial",
        check=False,
    )
    assert found.not_told_apart == []
    assert np.isfinite(found.standard_errors).all()


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "model"])
@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), "1", True])
def test_the_scale_of_a_loss_is_a_number_above_0(method: Any, scale: Any) -> None:
    with pytest.raises(distfd.InputError, match="f_scale: must be a finite number > 0"):
        distfd.least_squares(lambda x: x - 1, [0.5], method=method, f_scale=scale, executor="serial")


@pytest.mark.parametrize("method", ["trf", "model"])
def test_an_unknown_loss_is_said_in_our_words(method: Any) -> None:
    with pytest.raises(distfd.InputError, match=r"loss: must be one of linear.*did you mean 'huber'"):
        distfd.least_squares(lambda x: x - 1, [0.5], method=method, loss="hubber", executor="serial")
    with pytest.raises(distfd.InputError, match="loss: must be one of linear"):
        distfd.least_squares(lambda x: x - 1, [0.5], method=method, loss=["huber"], executor="serial")


@pytest.mark.parametrize("level", [95, "0.95", True, float("nan")])
def test_a_level_is_a_number_between_0_and_1(level: Any) -> None:
    found = distfd.least_squares(lambda x: np.array([x[0] - 1, x[0] - 2]), [0.5], executor="serial")
    with pytest.raises(distfd.InputError, match="level: must be between 0 and 1"):
        found.confidence_intervals(level)
