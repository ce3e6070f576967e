"""distfd.curve_fit where it goes beyond SciPy's: Evaluators, errors, NaN, and what SciPy's own Jacobians cannot do."""

from __future__ import annotations

import functools
import warnings
from collections import namedtuple
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize

import distfd
from distfd.core.errors import EvaluationError, InputError
from distfd.events import WaveStarted

if TYPE_CHECKING:
    from pathlib import Path

X = np.linspace(0, 3, 15)
TRUTH = (2.0, 0.7)


def model(x: Any, a: float, b: float) -> Any:
    return a * np.exp(-b * x)


def slopes(x: Any, a: float, b: float) -> Any:
    return np.stack((np.exp(-b * x), -a * x * np.exp(-b * x)), axis=1)


Y = model(X, *TRUTH) + 0.05 * np.random.default_rng(3).standard_normal(len(X))
SIGMA = np.linspace(0.02, 0.1, len(X))


class OutOfRangeError(Exception):
    """A model's own."""


def fit(f: Any = model, xdata: Any = X, ydata: Any = Y, *args: Any, **keywords: Any) -> Any:
    return distfd.curve_fit(f, xdata, ydata, *args, executor="serial", **keywords)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    ("method", "sigma"),
    [(None, None), ("lm", 0.3), ("trf", SIGMA), ("dogbox", 0.3), (None, np.diag(SIGMA**2) + 1e-4), ("trf", None)],
)
def test_scipys_numbers(method: Any, sigma: Any, absolute: bool) -> None:
    given: Any = (None, sigma, absolute)
    theirs = scipy.optimize.curve_fit(model, X, Y, *given, method=method)
    ours = fit(model, X, Y, *given, method=method)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-4)


@pytest.mark.parametrize("method", ["lm", "trf", "dogbox"])
def test_a_users_jacobian_is_used_and_saves_the_differences(method: Any) -> None:
    popt, pcov, info, message, code = fit(jac=slopes, method=method, sigma=0.5, full_output=True)
    np.testing.assert_allclose(popt, fit()[0], rtol=1e-5)
    assert pcov.shape == (2, 2)
    assert info["n_evaluations"] <= info["nfev"]
    assert isinstance(message, str)
    assert code in (1, 2, 3, 4)
    differenced = fit(method=method, full_output=True)[2]
    assert differenced["n_evaluations"] > 2 * info["n_evaluations"]


def test_a_value_and_its_differences_are_one_wave() -> None:
    waves: list[int] = []
    _, _, info, *_ = fit(
        observers=[lambda event: waves.append(event.n_points) if isinstance(event, WaveStarted) else None],
        full_output=True,
    )
    assert set(waves) <= {1, 2, 3}
    assert waves[0] == 3
    assert info["n_evaluations"] <= 3 * info["nfev"]


def test_what_the_model_raises_comes_out_as_it_is() -> None:
    def fails(x: Any, a: float, b: float) -> Any:
        if a != 1.0:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise OutOfRangeError("a is too far") from error
        return model(x, a, b)

    with pytest.raises(OutOfRangeError, match="a is too far") as caught:
        fit(fails)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ZeroDivisionError):
        fit(lambda x, a: x * (1 // 0))


def test_nan_at_a_trial_is_refused_as_scipy_refuses_it() -> None:
    def falls_off(x: Any, a: float, b: float) -> Any:
        return model(x, a, b) if abs(b) < 1.1 else np.full(len(x), np.nan)

    for method in ("lm", "trf", "dogbox"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = scipy.optimize.curve_fit(falls_off, X, Y, [5.0, 0.01], method=method)
        ours = fit(falls_off, X, Y, [5.0, 0.01], method=method)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4)


def test_nan_at_the_start() -> None:
    for bounds in ((-np.inf, np.inf), (0, 9)):
        with pytest.raises(ValueError, match="finite in the initial point"):
            fit(lambda x, a: x * np.nan, bounds=bounds, method="trf")
    with pytest.raises(EvaluationError, match="nan"):
        fit(lambda x, a: x * np.nan)
    with pytest.raises(ValueError, match="finite in the initial point"):
        fit(lambda x, a: x * np.nan, bounds=scipy.optimize.Bounds([0], [9]))


@pytest.mark.parametrize(
    ("method", "sigma"), [("lm", None), ("trf", 2.0), ("lm", SIGMA), ("trf", np.diag(SIGMA**2)), ("trf", None)]
)
def test_a_model_that_returns_one_number(method: Any, sigma: Any) -> None:
    found, spread = fit(lambda x, level: level, X, Y, None, sigma, method=method)
    theirs = scipy.optimize.curve_fit(lambda x, level: level, X, Y, None, sigma, method=method)
    np.testing.assert_allclose(found, theirs[0], rtol=1e-6)
    np.testing.assert_allclose(spread, theirs[1], rtol=1e-5)


def test_nans_are_omitted_from_what_the_model_gets() -> None:
    x, y = X.copy(), Y.copy()
    x[2], y[5] = np.nan, np.nan
    kept = np.isfinite(x) & np.isfinite(y)
    for sigma in (None, 0.2, SIGMA):
        part = sigma[kept] if isinstance(sigma, np.ndarray) else sigma
        expected = fit(model, x[kept], y[kept], None, part)
        found = fit(model, x, y, None, sigma, nan_policy="omit")
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_scipys_words_for_steps() -> None:
    seen: list[float] = []

    def watched(x: Any, a: float, b: float) -> Any:
        seen.append(a)
        return model(x, a, b)

    for word, value in (("epsfcn", 1e-6), ("diff_step", 1e-3), ("step", 1e-3)):
        seen.clear()
        fit(watched, X, Y, [2.0, 0.5], **{word: value}, method="trf" if word == "diff_step" else "lm")
        assert 2.002 in np.round(seen, 12)
    for word, scheme in (("2-point", "forward"), ("3-point", "central"), ("cs", "complex-step")):
        for method in ("lm", "trf"):
            by_word = fit(jac=word, method=method, full_output=True)
            by_scheme = fit(scheme=scheme, method=method, full_output=True)
            np.testing.assert_array_equal(by_word[0], by_scheme[0])
            assert by_word[2]["n_evaluations"] == by_scheme[2]["n_evaluations"]


def test_sparsity_saves_evaluations() -> None:
    def separate(x: Any, *p: float) -> Any:
        return np.asarray(p)[np.arange(len(x)) % 4] * x

    y = separate(X, 1.0, 2.0, 3.0, 4.0)
    mask = np.arange(4) == (np.arange(len(X)) % 4)[:, None]
    whole = fit(separate, X, y, np.ones(4), full_output=True)
    found = fit(separate, X, y, np.ones(4), full_output=True, jac_sparsity=mask)
    np.testing.assert_allclose(found[0], [1, 2, 3, 4], rtol=1e-8)
    np.testing.assert_allclose(whole[0], found[0], rtol=1e-7)
    assert found[2]["n_evaluations"] < whole[2]["n_evaluations"]


def test_a_store_remembers(tmp_path: Path) -> None:
    first = fit(store=tmp_path / "values.sqlite", full_output=True)
    again = fit(store=tmp_path / "values.sqlite", full_output=True)
    np.testing.assert_array_equal(first[0], again[0])
    assert again[2]["n_evaluations"] == 0
    other = fit(model, X + 0.1, Y, store=tmp_path / "values.sqlite", full_output=True)
    assert other[2]["n_reused"] == 0


def test_any_xdata_and_any_callable() -> None:
    table = {"t": X}
    popt, _ = fit(lambda data, a, b: model(data["t"], a, b), table)
    np.testing.assert_allclose(popt, fit()[0])
    with_offset = functools.partial(lambda offset, x, a, b: model(x, a, b) + offset, 0.0)
    np.testing.assert_allclose(fit(with_offset)[0], fit()[0])


def test_parameters_are_called_by_their_names() -> None:
    def fails(x: Any, width: float, height: float) -> Any:
        return model(x, width, height) if height == 1 else 1 / 0 * x

    with pytest.raises(ZeroDivisionError):
        fit(fails)
    with pytest.warns(distfd.DerivativeWarning, match="'height'"), pytest.warns(scipy.optimize.OptimizeWarning):
        fit(lambda x, width, height: width * x)
    with pytest.warns(distfd.DerivativeWarning, match="'h'"), pytest.warns(scipy.optimize.OptimizeWarning):
        fit(lambda x, width, height: width * x, names=["w", "h"])


def test_bounds_hold_for_differences_too() -> None:
    seen: list[float] = []

    def root(x: Any, a: float, b: float) -> Any:
        seen.append(b)
        return a * np.sqrt(b - 1) + 0 * x

    y = np.full(len(X), 0.5)
    for bounds in (([0, 1], [1, 3]), scipy.optimize.Bounds([0, 1], [1, 3])):
        seen.clear()
        fit(root, X, y, [0.9, 1.0 + 1e-12], bounds=bounds)
        assert min(seen) >= 1


def test_what_makes_no_sense_is_refused() -> None:
    cases: list[tuple[str, type[Exception], dict[str, Any]]] = [
        ("'args' is not a supported keyword argument", ValueError, {"args": (1,)}),
        ("'kwargs' is not a supported", ValueError, {"kwargs": {"c": 1}}),
        ("epsfcn: means the same as step", InputError, {"epsfcn": 1e-8, "step": 1e-4}),
        ("jac: cs means a scheme", InputError, {"jac": "cs", "scheme": "central"}),
        ("jac: must be a function, 2-point", InputError, {"jac": "4-point"}),
        ("no keyword 'workers'.*executor=", TypeError, {"workers": 4}),
        ("no keyword 'shceme'.*did you mean 'scheme'", TypeError, {"shceme": "central"}),
    ]
    for match, kind, given in cases:
        with pytest.raises(kind, match=match):
            fit(**given)
    with pytest.raises(InputError, match=r"distfd\.least_squares"):
        fit(distfd.CommandObjective)
    with pytest.raises(InputError, match=r"distfd\.least_squares"):
        fit(3)
    with pytest.raises(ValueError, match="in one dimension"):
        fit(lambda x, a: np.ones((3, 3)))
    with pytest.raises(TypeError, match="real numbers"):
        fit(lambda x, a: 1j * x)
    with pytest.raises(RuntimeError, match="Optimal parameters not found"):
        fit(maxfev=1)
    with pytest.raises(RuntimeError, match="Optimal parameters not found"):
        fit(max_nfev=1, method="trf")


@pytest.mark.slow
def test_on_ray() -> None:
    executor = distfd.RayExecutor(max_slots=2)
    try:
        popt, pcov = distfd.curve_fit(model, X, Y, sigma=SIGMA, executor=executor)
        with pytest.raises(OutOfRangeError):
            distfd.curve_fit(raises, X, Y, executor=executor)
    finally:
        executor.close()
    theirs = scipy.optimize.curve_fit(model, X, Y, sigma=SIGMA)
    np.testing.assert_allclose(popt, theirs[0], rtol=1e-5)
    np.testing.assert_allclose(pcov, theirs[1], rtol=1e-4)


def raises(x: Any, a: float) -> Any:
    raise OutOfRangeError(a)


def test_one_number_with_a_covariance_and_data_left_out() -> None:
    from scipy.optimize import curve_fit

    x = np.linspace(0, 1, 8)
    y = 2 * x + 1
    y[3] = np.nan
    sigma = np.diag(np.linspace(0.1, 0.2, 8)) + 0.001
    given: dict[str, Any] = {"sigma": sigma, "nan_policy": "omit", "check_finite": False}
    want = curve_fit(lambda _, a: a, x, y, [1.0], **given)
    popt, pcov = distfd.curve_fit(lambda _, a: a, x, y, [1.0], executor="serial", **given)
    np.testing.assert_allclose(popt, want[0], rtol=1e-7)
    np.testing.assert_allclose(pcov, want[1], rtol=1e-6)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_data_that_are_not_finite_leave_no_covariance_and_it_is_said(absolute: bool, own: bool) -> None:
    from scipy.optimize import OptimizeWarning

    x = np.linspace(0, 1, 8)
    y = 2 * x + 1
    y[3] = np.nan
    with pytest.warns(OptimizeWarning, match="Covariance of the parameters could not be estimated") as told:
        _, pcov = distfd.curve_fit(
            lambda x, a, b: a * x + b,
            x,
            y,
            [1.0, 1.0],
            check_finite=False,
            absolute_sigma=absolute,
            jac=(lambda x, *_: np.stack([x, np.ones(len(x))], 1)) if own else None,
            executor="serial",
        )
    assert np.isinf(pcov).all()
    assert [one.filename for one in told] == [__file__]


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0.0, 5.0)])
def test_verbose_is_taken_whatever_the_method(bounds: Any, capfd: pytest.CaptureFixture[str]) -> None:
    x = np.linspace(0, 1, 20)
    found = distfd.curve_fit(
        lambda t, a: np.exp(-a * t), x, np.exp(-2 * x), p0=[1.0], executor="serial", verbose=1, bounds=bounds
    )
    assert found[0] == pytest.approx([2.0])
    said = capfd.readouterr()
    assert "evaluations" in said.out.lower() + said.err


def test_a_start_with_more_numbers_than_parameters() -> None:
    with pytest.raises(InputError, match="p0: f cannot be called with 3 parameters"):
        fit(model, X, Y, [1.0, 1.0, 1.0])


def test_a_start_with_labels_in_another_order(require_simulator: Any) -> None:
    require_simulator("pandas")
    import pandas as pd

    assert fit(model, X, Y, pd.Series({"a": 1.0, "b": 1.0}))[0] == pytest.approx(fit(model, X, Y, [1.0, 1.0])[0])
    with pytest.raises(InputError, match="p0: has the labels 'b', 'a', and f's parameters are 'a', 'b'"):
        fit(model, X, Y, pd.Series({"b": 1.0, "a": 1.0}))
    turned = namedtuple("turned", "b a")  # noqa: PYI024  # a type without fields' types is what is meant
    with pytest.raises(InputError, match="p0: has the labels 'b', 'a'"):
        fit(model, X, Y, turned(1.0, 1.0))


def test_masked_data_are_refused_as_scipy_would_fit_what_is_under_the_mask() -> None:
    with pytest.raises(InputError, match="ydata: some of its entries are masked; leave these points out"):
        fit(model, X, np.ma.array(Y, mask=Y < 0.5), [1.0, 1.0])


class Noisy:
    """The model with relative noise."""

    def __init__(self, level: float) -> None:
        self.level = level
        self.rng = np.random.default_rng(1)

    def __call__(self, x: Any, a: float, b: float) -> Any:
        return model(x, a, b) * (1 + self.level * self.rng.standard_normal(len(x)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": SIGMA, "absolute_sigma": True},
        {"sigma": np.diag(SIGMA**2) + 1e-4},
        {"bounds": (0, 5)},
        {"bounds": (0, 5), "loss": "soft_l1", "f_scale": 0.1},
    ],
)
def test_a_fit_that_ends_as_its_slopes_are_noise_is_told_and_the_remedy_works(options: dict[str, Any]) -> None:
    right, _ = fit(p0=(1.0, 1.0), **options)
    with pytest.warns(distfd.DerivativeWarning, match=r"popt and pcov may be wrong: .* noise.*step=\"auto\""):
        wrong, _ = fit(Noisy(1e-6), p0=(1.0, 1.0), **options)
    assert np.abs(wrong / right - 1).max() > 0.01  # else there would be nothing to tell
    with warnings.catch_warnings():
        warnings.simplefilter("error", distfd.DerivativeWarning)
        found, _ = fit(Noisy(1e-6), p0=(1.0, 1.0), step="auto", **options)
    np.testing.assert_allclose(found, right, rtol=1e-3)


def test_a_fit_of_a_clean_model_is_not_doubted() -> None:
    lacking = np.where(np.arange(len(Y)) == 4, np.nan, Y)
    omit: dict[str, Any] = {"nan_policy": "omit", "check_finite": False}
    units = np.array([1e-6, 1e6])
    with warnings.catch_warnings():
        warnings.simplefilter("error", distfd.DerivativeWarning)
        warnings.filterwarnings("ignore", "Covariance")  # of the last fit, to one number
        for options in ({}, {"sigma": SIGMA}, {"sigma": np.diag(SIGMA**2) + 1e-4}, {"bounds": (0, 5)}):
            fit(p0=(1.0, 1.0), **options)
            fit(model, X, lacking, (1.0, 1.0), **omit, **options)
            fit(model, X, model(X, *TRUTH), (1.0, 1.0), **options)  # residuals of 0 at the end
        fit(lambda x, a, b: model(x, a / units[0], b / units[1]), X, Y, (1e-6, 1e6), x_scale=units, method="trf")
        fit(lambda x, a, b: np.float64(a + b), 0.0, [3.0], (1.0, 1.0), bounds=(0, 5))
