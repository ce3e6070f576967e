"""First-order uncertainty of outputs, against formulas written out and simulated parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.errors import InputError
from distfd.results.sensitivity_result import propagate

if TYPE_CHECKING:
    from pathlib import Path

X, SIGMA = np.array([2.0, 3.0]), np.array([0.02, 0.06])
COVARIANCE = np.array([[4e-4, -9e-4], [-9e-4, 3.6e-3]])


def beam(x: Any) -> Any:
    return np.array([x[0] * x[1], 60 / (x[0] * x[1] ** 2), x[0] * x[1] - 6, 4.0])


JACOBIAN = np.array([[3, 2], [-5 / 3, -20 / 9], [3, 2], [0, 0]])


def found(sigma: Any, fun: Any = beam, x: Any = X, **options: Any) -> distfd.SensitivityResult:
    return distfd.sensitivity(fun, x, sigma, executor="serial", **options)


@pytest.mark.filterwarnings("ignore:J did not change")
def test_independent_parameters() -> None:
    result = found(SIGMA, scheme="central")
    parts = (JACOBIAN * SIGMA) ** 2
    np.testing.assert_allclose(result.sigma, np.sqrt(parts.sum(axis=1)), rtol=1e-8)
    assert result.shares is not None
    np.testing.assert_allclose(
        result.shares[:3], (parts / parts.sum(axis=1, keepdims=True).clip(1e-300))[:3], rtol=1e-7
    )
    assert np.isnan(result.shares[3]).all()
    np.testing.assert_allclose(result.normalised[:2], [[1, 1], [-1, -2]], rtol=1e-8)
    assert np.isnan(result.normalised[2]).all()
    assert result.normalised[3].tolist() == [0, 0]
    np.testing.assert_allclose(result.covariance, JACOBIAN @ np.diag(SIGMA**2) @ JACOBIAN.T, rtol=1e-7, atol=1e-15)
    assert result.sigma_error is None
    assert result.shares_error is None
    assert result.normalised_error is None
    assert result.derivative.n_evaluations == 5


@pytest.mark.filterwarnings("ignore:J did not change")
def test_correlated_parameters() -> None:
    result = found(COVARIANCE, scheme="central")
    full = JACOBIAN @ COVARIANCE @ JACOBIAN.T
    np.testing.assert_allclose(result.sigma, np.sqrt(np.diag(full)), rtol=1e-7)
    np.testing.assert_allclose(result.covariance, full, rtol=1e-7, atol=1e-15)
    assert result.shares is None
    assert "correlated" in repr(result)
    diagonal = found(np.diag(SIGMA**2), scheme="central")
    np.testing.assert_allclose(diagonal.sigma, found(SIGMA, scheme="central").sigma, rtol=1e-14)
    assert diagonal.shares is not None


def test_the_gums_example_of_correlated_resistances() -> None:
    """JCGM 100:2008, 5.2.2, example: ten resistors in series, all calibrated by one standard."""
    result = found(np.full((10, 10), 0.1**2), lambda x: float(x.sum()), np.full(10, 1000.0))
    assert result.sigma[0] == pytest.approx(1.0, rel=1e-6)
    apart = found(0.1, lambda x: float(x.sum()), np.full(10, 1000.0))
    assert apart.sigma[0] == pytest.approx(0.1 * np.sqrt(10), rel=1e-6)


def test_simulated_parameters_scatter_as_it_says() -> None:
    rng = np.random.default_rng(7)
    drawn = rng.multivariate_normal(X, COVARIANCE, size=20000)
    outputs = np.array([beam(x) for x in drawn])
    np.testing.assert_allclose(outputs.std(axis=0)[:3], found(COVARIANCE[:], lambda x: beam(x)[:3]).sigma, rtol=0.02)


@pytest.mark.parametrize("covariance", [None, COVARIANCE])
def test_bars_hold_whatever_the_derivatives_are_inside_them(covariance: Any) -> None:
    rng = np.random.default_rng(11)
    measured = found(SIGMA, lambda x: beam(x)[:3]).derivative
    jacobian, bars = JACOBIAN[:3].astype(float), np.array([[0.5, 0.1], [0.2, 0.3], [4.0, 3.0]])
    told = propagate(measured, jacobian, bars, SIGMA, covariance)
    assert told.sigma_error is not None
    assert told.normalised_error is not None
    reached = np.zeros(3)
    for corner in range(300):
        e = bars * (rng.choice([-1.0, 1.0], bars.shape) if corner % 2 else rng.uniform(-1, 1, bars.shape))
        other = propagate(measured, jacobian + e, None, SIGMA, covariance)
        off = np.abs(other.sigma - told.sigma)
        assert (off <= told.sigma_error * (1 + 1e-12)).all()
        reached = np.maximum(reached, off / told.sigma_error)
        assert (np.abs(other.normalised - told.normalised)[:2] <= told.normalised_error[:2] * (1 + 1e-12)).all()
        if told.shares is not None and told.shares_error is not None and other.shares is not None:
            assert (np.abs(other.shares - told.shares) <= told.shares_error * (1 + 1e-12)).all()
    assert (reached > 0.7).all(), "the bars are no wider than need be"


def test_noise_gives_bars_and_unknown_ones_are_nan() -> None:
    def noisy(x: Any) -> Any:
        return np.array([x[0] * x[1] + 1e-6 * np.sin(1e9 * float(x.sum())), x[0] ** 2])

    result = found(SIGMA, noisy, step="auto")
    exact = np.hypot(3 * 0.02, 2 * 0.06)
    assert result.sigma_error is not None
    assert abs(result.sigma[0] - exact) <= 3 * result.sigma_error[0]
    assert 0 < result.sigma_error[0] < 1e-3
    assert "known to" in repr(result)
    bars = np.array([[0.1, np.nan], [0.1, 0.1]])
    told = propagate(result.derivative, result.jacobian, bars, SIGMA, None)
    assert told.sigma_error is not None
    assert np.isnan(told.sigma_error).tolist() == [True, False]
    certain = propagate(result.derivative, result.jacobian, bars, np.array([0.02, 0.0]), None)
    assert certain.sigma_error is not None
    assert np.isfinite(certain.sigma_error).all(), "a parameter without uncertainty adds none"


def test_missing_derivatives_stay_missing() -> None:
    def fails(x: Any) -> Any:
        if x[1] != 3.0:
            raise RuntimeError("no")
        return np.array([x[0], 2 * x[0]])

    result = found(SIGMA, fails, on_failure="nan")
    assert np.isnan(result.sigma).all()
    assert "unknown" in repr(result)


@pytest.mark.filterwarnings("ignore:J did not change")
def test_how_it_prints(tmp_path: Path) -> None:
    text = repr(found(SIGMA, names=["width", "height"]))
    assert text.splitlines() == [
        "first-order uncertainty of 4 outputs from 2 independent parameters, by forward",
        "",
        "J0 = 6, sigma 0.1342 (2.2 %)",
        "          x  sigma_x  dJ/dx  normalised   share",
        "  width   2     0.02      3           1  20.0 %",
        "  height  3     0.06      2           1  80.0 %",
        "",
        "J1 = 3.3333333, sigma 0.1374 (4.1 %)",
        "          x  sigma_x   dJ/dx  normalised   share",
        "  width   2     0.02  -1.667          -1   5.9 %",
        "  height  3     0.06  -2.222          -2  94.1 %",
        "",
        "J2 = 0, sigma 0.1342",
        "          x  sigma_x  dJ/dx  normalised   share",
        "  width   2     0.02      3           -  20.0 %",
        "  height  3     0.06      2           -  80.0 %",
        "",
        "J3 = 4, sigma 0 (0 %)",
        "          x  sigma_x  dJ/dx  normalised  share",
        "  width   2     0.02      0           0      -",
        "  height  3     0.06      0           0      -",
        *[line for line in text.splitlines() if line.startswith("warning:")],
    ]
    many = found(np.arange(20) / 100, lambda x: np.outer(np.ones(6), x).sum(axis=1), np.ones(20))
    text = repr(many)
    assert "and 8 more, which weigh no more" in text
    assert "and 2 more outputs" in text
    assert "x19" in text
    assert "x3 " not in text
    many.to_csv(tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "output,value,sigma,name,x,sigma_x,derivative,normalised,share"
    assert len(lines) == 121


def test_an_evaluator_and_a_sparse_jacobian() -> None:
    mask = np.eye(4)
    with distfd.Evaluator(lambda x: x**2, executor="serial") as evaluator:
        result = distfd.sensitivity(evaluator, np.arange(1.0, 5.0), 0.1, sparsity=mask)
        assert result.derivative.n_evaluations == 2
        np.testing.assert_allclose(result.sigma, 0.2 * np.arange(1, 5), rtol=1e-6)
        with pytest.raises(InputError, match="scheme: is an option of the Evaluator"):
            distfd.sensitivity(evaluator, np.ones(4), 0.1, scheme="central")


def test_many_outputs_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(COVARIANCE, lambda x: beam(x)[:3])
    monkeypatch.setattr("distfd.results.sensitivity_result._BLOCK", 4)
    np.testing.assert_array_equal(found(COVARIANCE, lambda x: beam(x)[:3]).sigma, whole.sigma)


@pytest.mark.parametrize(
    ("sigma", "match"),
    [
        ([0.1, 0.2, 0.3], r"must be a number, 2 of them, or a \(2, 2\) covariance \(shape was \(3,\)\)"),
        (np.ones((2, 3)), "shape was"),
        ([0.1, -0.2], "coordinate 1 is -0.2; a standard deviation is finite and >= 0"),
        ([np.nan, 0.1], "coordinate 0 is nan"),
        ("wide", "must be a real number"),
        ([[1.0, 0.5], [0.4, 1.0]], "it must be symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "negative variance"),
        ([[1.0, np.inf], [np.inf, 1.0]], "must be finite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "the variance of coordinate 0 is -1"),
    ],
)
def test_what_is_no_uncertainty_is_refused(sigma: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        found(sigma, lambda x: 1 / 0)


def test_a_missing_derivative_of_a_certain_parameter_does_not_matter() -> None:
    def fun(x: Any) -> float:
        return float(x[0] + 2 * x[1]) if x[2] == 3 else float("nan")

    options: dict[str, Any] = {"executor": "serial", "on_failure": "nan"}
    found = distfd.sensitivity(fun, [1.0, 2.0, 3.0], [0.1, 0.2, 0.0], **options)
    np.testing.assert_allclose(found.sigma, np.hypot(0.1, 0.4), rtol=1e-6)
    assert found.shares is not None
    np.testing.assert_allclose(found.shares, [[1 / 17, 16 / 17, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(found.normalised, [[0.2, 0.8, np.nan]], rtol=1e-6)
    with_covariance = distfd.sensitivity(fun, [1.0, 2.0, 3.0], np.diag([0.01, 0.04, 0.0]) + 0.0, **options)
    np.testing.assert_allclose(with_covariance.sigma, np.hypot(0.1, 0.4), rtol=1e-6)
    mixed = np.array([[0.01, 0.005, 0.0], [0.005, 0.04, 0.0], [0.0, 0.0, 0.0]])
    correlated = distfd.sensitivity(fun, [1.0, 2.0, 3.0], mixed, **options)
    np.testing.assert_allclose(correlated.sigma, np.sqrt(0.01 + 4 * 0.04 + 4 * 0.005), rtol=1e-6)
    np.testing.assert_allclose(correlated.covariance, correlated.sigma[None] ** 2, rtol=1e-6)
    uncertain = distfd.sensitivity(fun, [1.0, 2.0, 3.0], [0.1, 0.2, 0.1], **options)
    assert np.isnan(uncertain.sigma).all()
    assert uncertain.shares is not None
    assert np.isnan(uncertain.shares).all()


def test_a_deviation_that_is_left_out_is_asked_for() -> None:
    x = {"a": 1.0, "b": 2.0}
    with pytest.raises(InputError, match=r"sigma_x: has no number for .*'b'.; give 0 for what is known exactly"):
        distfd.sensitivity(lambda p: p["a"] * p["b"], x, {"a": 0.1}, executor="serial")
