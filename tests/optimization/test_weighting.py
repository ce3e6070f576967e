"""Residuals in units of sigma, and prior values of parameters: every method against the same written out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.core.errors import InputError
from distfd.optimization.weighting import Weighting

if TYPE_CHECKING:
    from pathlib import Path

T = np.linspace(0, 3, 15)
SIGMA = np.linspace(0.01, 0.05, len(T))
NAMES = ["amplitude", "rate", "offset"]


def model(t: Any, a: float, b: float, c: float) -> Any:
    return a * np.exp(-b * t) + c


Y = model(T, 2.0, 0.7, 0.3) + SIGMA * np.random.default_rng(3).standard_normal(len(T))


def residuals(p: Any) -> Any:
    return model(T, *p) - Y


def fit(fun: Any = residuals, x0: Any = (1.0, 0.3, 0.1), **options: Any) -> Any:
    return distfd.least_squares(fun, x0, **{"executor": "serial", **options})


def written_out(p: Any) -> Any:
    return np.concatenate((residuals(p) / SIGMA, [(p[1] - 0.5) / 0.05, (p[2] - 0.2) / 0.1]))


PRIOR = {"rate": {"value": 0.5, "sigma": 0.05}, "offset": (0.2, 0.1)}


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "model"])
def test_sigma_and_priors_are_the_same_as_written_out(method: Any) -> None:
    found = fit(method=method, sigma=SIGMA, prior=PRIOR, names=NAMES)
    expected = scipy.optimize.least_squares(written_out, [1.0, 0.3, 0.1])
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-4)
    assert found.cost == pytest.approx(expected.cost, rel=1e-6)
    assert found.fun.shape == (17,)
    np.testing.assert_allclose(found.fun, written_out(found.x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.jac[-2:], [[0, 20, 0], [0, 0, 10]])
    np.testing.assert_allclose(found.jac, expected.jac, rtol=1e-3, atol=1e-3)
    assert found.n_prior == 2
    # Sigma is in absolute units: the covariance is the inverse of J^T J.
    np.testing.assert_allclose(found.covariance, np.linalg.inv(found.jac.T @ found.jac), rtol=1e-6)
    assert "17 residuals, 2 of them prior values of parameters (known standard deviations)" in repr(found)


def test_sigma_alone() -> None:
    known, scaled = fit(sigma=SIGMA), fit(sigma=SIGMA, absolute_sigma=False)
    for found, absolute in ((known, True), (scaled, False)):
        popt, pcov = scipy.optimize.curve_fit(model, T, Y, [1.0, 0.3, 0.1], SIGMA, absolute)
        np.testing.assert_allclose(found.x, popt, rtol=1e-5)
        np.testing.assert_allclose(found.covariance, pcov, rtol=1e-4)
    half = np.diff(known.confidence_intervals(0.95), axis=1)[:, 0] / 2
    np.testing.assert_allclose(half, 1.959964 * known.standard_errors, rtol=1e-6)
    one = fit(sigma=0.03)
    np.testing.assert_allclose(one.x, fit().x, rtol=1e-5)
    np.testing.assert_allclose(one.fun, fit().fun / 0.03, rtol=1e-3, atol=1e-4)


def test_what_the_data_do_not_tell_apart_a_prior_does() -> None:
    """Tikhonov: two parameters of which only the sum matters."""

    def summed(p: Any) -> Any:
        return p[0] + p[1] - np.array([2.9, 3.0, 3.1])

    alone = fit(summed, [1.0, 1.0])
    assert alone.not_told_apart == [["x0", "x1"]]
    told = fit(summed, [1.0, 1.0], sigma=0.1, prior={"x0": (1.0, 0.01)})
    assert told.not_told_apart == []
    np.testing.assert_allclose(told.x, [1.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(told.standard_errors, [0.01, np.hypot(0.01, 0.1 / np.sqrt(3))], rtol=1e-5)


def test_sparse_jacobians_and_robust_losses() -> None:
    y = np.arange(1.0, 7.0)
    prior = {"x2": (0.0, 0.5)}
    dense = fit(lambda p: p**2 - y, np.ones(6), sigma=0.5, prior=prior, loss="soft_l1")
    sparse = fit(lambda p: p**2 - y, np.ones(6), sigma=0.5, prior=prior, loss="soft_l1", sparsity=np.eye(6))
    np.testing.assert_allclose(sparse.x, dense.x, rtol=1e-5)
    np.testing.assert_allclose(sparse.jac.toarray(), dense.jac, rtol=1e-3, atol=1e-6)
    assert sparse.jac.shape == (7, 6)


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("method", ["trf", "model"])
def test_residuals_without_a_value_have_no_sigma_either(method: Any) -> None:
    def gaps(p: Any) -> Any:
        found = residuals(p)
        found[4] = np.nan
        return found

    found = fit(gaps, sigma=SIGMA, prior={"x1": (0.5, 0.05)}, on_failure="nan", method=method)
    kept = np.arange(15) != 4
    expected = scipy.optimize.least_squares(
        lambda p: np.append((residuals(p) / SIGMA)[kept], (p[1] - 0.5) / 0.05), [1.0, 0.3, 0.1]
    )
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-4)
    assert found.kept.tolist() == kept.tolist()


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("method", ["trf", "model"])
def test_error_bars_and_noise_are_weighted_too(method: Any) -> None:
    def noisy(p: Any) -> Any:
        return residuals(p) + 1e-6 * np.sin(1e9 * float(np.sum(p)) + 1e5 * T)

    found = fit(noisy, sigma=SIGMA, prior=PRIOR, names=NAMES, step="auto", method=method)
    assert found.jacobian_error is None or found.jacobian_error.shape == (17, 3)
    np.testing.assert_allclose(found.x, scipy.optimize.least_squares(written_out, [1, 0.3, 0.1]).x, rtol=1e-2)
    if method == "model":
        assert 1e-8 < found.noise < 1e-5, "of J's outputs, and not of the residuals"


@pytest.mark.parametrize("width", [1e-15, 1e-13, 1e-11, 1e-9, 1e-6])
def test_a_prior_may_be_so_narrow_that_it_holds_its_parameter(width: float) -> None:
    found = fit(method="model", sigma=SIGMA, prior={"x1": (0.6, width)})
    held = fit(x0=(1.0, 0.6, 0.1), bounds=([0, 0.6, -9], [9, 0.6, 9]), sigma=SIGMA)
    np.testing.assert_allclose(found.x, held.x, rtol=1e-3)
    assert found.n_evaluations < 40, "and not one small step after the other"


def test_priors_of_fixed_parameters_say_nothing() -> None:
    bounds = ([0, 0.7, -1], [9, 0.7, 1])
    start = [1.0, 0.7, 0.1]
    prior = {"x1": (0.5, 0.05), "x2": (0.2, 0.1)}
    found = fit(x0=start, bounds=bounds, method="model", sigma=SIGMA, prior=prior)
    assert found.n_prior == 1
    assert found.fun.shape == (16,)


def test_the_store_and_the_journal_know_of_outputs_alone(tmp_path: Path) -> None:
    store, journal = tmp_path / "values.sqlite", tmp_path / "iterates.json"
    first = fit(store=store, journal=journal, sigma=SIGMA, prior=PRIOR, names=NAMES)
    again = fit(store=store, journal=journal, sigma=SIGMA, prior=PRIOR, names=NAMES)
    assert again.x.tolist() == first.x.tolist()
    assert again.n_evaluations == 0
    # Another prior is another run, in which J(x0) and its differences are known.
    other = fit(store=store, journal=tmp_path / "other.json", sigma=SIGMA, prior={"rate": (0.9, 0.05)}, names=NAMES)
    assert other.x[1] > first.x[1]
    assert other.n_reused >= 4


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"sigma": -1.0}, r"sigma: must be finite and > 0 \(was -1.0\)"),
        ({"sigma": [0.1] * 14 + [0.0]}, "was 0.0 at index 14"),
        ({"sigma": [0.1] * 3}, r"sigma: must be one number, or 15 of them, one for each output of J \(had 3\)"),
        ({"sigma": np.eye(15)}, "its shape was"),
        ({"sigma": "wide"}, "must be a number or a list"),
        ({"prior": {"rat": (1, 1)}}, "no parameter 'rat'.*did you mean 'rate'"),
        ({"prior": {"rate": 3}}, "rate must be a value and a sigma"),
        ({"prior": {"rate": {"value": 1}}}, "rate must have value and sigma"),
        ({"prior": {"rate": {"value": 1, "sigma": 0}}}, "the sigma of rate must be finite and > 0"),
        ({"prior": {"rate": (np.inf, 1)}}, "the value of rate must be finite"),
        ({"prior": [1, 2]}, "must be a mapping"),
        ({"absolute_sigma": "yes"}, "must be True, False or None"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        fit(names=NAMES, **given)


def test_without_either_nothing_is_touched() -> None:
    outputs = np.array([1.0, 2.0])
    plain = Weighting()
    assert plain.plain
    assert plain.values(outputs, None, np.zeros(2)) is outputs
    assert plain.matrix(outputs, None) is outputs
    assert plain.bars(None, None) is None
    assert fit().n_prior == 0
    assert not fit().absolute_sigma
