"""Likelihood intervals: held against SciPy's refits and root finding, and against published ones."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.optimize import least_squares as scipys
from scipy.stats import norm, t

import distfd
from distfd.errors import DerivativeWarning, InputError
from distfd.events import WaveStarted

CONCENTRATION = np.repeat([0.02, 0.06, 0.11, 0.22, 0.56, 1.1], 2)
RATE = np.array([76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200.0])
"""Puromycin, treated (Treloar 1974; Bates & Watts 1988, table A1.3)."""


def puromycin(p: Any) -> Any:
    return p[0] * CONCENTRATION / (p[1] + CONCENTRATION) - RATE


def fit(fun: Any, x0: Any, **options: Any) -> Any:
    return distfd.least_squares(fun, x0, executor=options.pop("executor", "serial"), **options)


def least_cost(fun: Any, x: Any, k: int, value: float, *, lower: Any = -np.inf, upper: Any = np.inf) -> float:
    """The least cost with parameter k held, by SciPy."""
    x = np.array(x, dtype=float)
    others = np.arange(len(x)) != k

    def of_others(z: Any) -> Any:
        at = x.copy()
        at[others], at[k] = z, value
        return fun(at)

    limits = [np.broadcast_to(np.asarray(limit, dtype=float), x.shape)[others] for limit in (lower, upper)]
    start = np.clip(x[others], *limits)
    found = scipys(of_others, start, jac="3-point", bounds=limits, x_scale="jac", ftol=1e-14, xtol=1e-14, gtol=1e-14)
    return float(found.cost)


def scipys_end(  # noqa: PLR0917  # a formula's letters
    fun: Any, found: Any, k: int, far: float, critical: float, s: float, **bounds: Any
) -> float:
    """Where the profile by SciPy's refits is at the critical value, between the estimate and ``far``."""

    def above(value: float) -> float:
        growth = max(0.0, 2 * (least_cost(fun, found.x, k, value, **bounds) - found.cost))
        return float(np.sqrt(growth) / s - critical)

    return float(brentq(above, found.x[k], far, rtol=1e-10))


def test_puromycin_as_published() -> None:
    """R's documentation of confint.nls has 197.30, 229.29 and 0.04692, 0.08616, which it interpolates."""
    found = fit(puromycin, [200, 0.05], names=["Vm", "K"]).profile()
    assert list(found) == ["Vm", "K"]
    np.testing.assert_allclose(found["Vm"].interval, [197.30212848, 229.29006490], rtol=1e-5)
    np.testing.assert_allclose(found["K"].interval, [0.04692517, 0.08615995], rtol=2e-4)
    assert found["K"].ends == ("level", "level")
    assert not found["K"].notes


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("k", [0, 1])
def test_the_interval_is_scipys(k: int, level: float) -> None:
    found = fit(puromycin, [200, 0.05])
    profile = found.profile(k, level=level)
    critical, s = float(t(10).ppf((1 + level) / 2)), float(np.sqrt(2 * found.cost / 10))
    assert profile.critical == pytest.approx(critical)
    far = critical * found.standard_errors[k]
    expected = [scipys_end(puromycin, found, k, found.x[k] + side * far, critical, s) for side in (-1.5, 3)]
    np.testing.assert_allclose(profile.interval, expected, rtol=1e-5)


def test_every_value_is_a_refit() -> None:
    found = fit(puromycin, [200, 0.05])
    profile = found.profile(1)
    assert (np.diff(profile.values) > 0).all()
    assert profile.converged.all()
    costs = [least_cost(puromycin, found.x, 1, value) for value in profile.values]
    np.testing.assert_allclose(profile.costs, costs, rtol=1e-7)
    s = np.sqrt(2 * found.cost / 10)
    roots = np.sqrt(np.maximum(0, 2 * (profile.costs - found.cost))) / s
    np.testing.assert_allclose(profile.zeta, np.sign(profile.values - found.x[1]) * roots)
    np.testing.assert_array_equal(profile.x[:, 1], profile.values)
    assert set(profile.table()) == {"x1", "cost", "zeta"}
    assert repr(profile).startswith("x1: 0.06412")


def test_of_a_linear_model_it_is_the_interval_of_first_order() -> None:
    a = np.random.default_rng(1).normal(size=(20, 4))
    b = np.random.default_rng(2).normal(size=20)
    found = fit(lambda x: a @ x - b, np.zeros(4), scheme="central")
    profiles = found.profile(points=3)
    intervals = np.array([profile.interval for profile in profiles.values()])
    np.testing.assert_allclose(intervals, found.confidence_intervals(), rtol=1e-5)
    for k, profile in enumerate(profiles.values()):
        np.testing.assert_allclose(profile.zeta, (profile.values - found.x[k]) / found.standard_errors[k], atol=1e-4)
        assert len(profile.values) == 7, "three values on each side, and the estimate"
        assert profile.n_waves <= 6


def test_with_known_sigma_the_quantile_is_normal() -> None:
    found = fit(puromycin, [200, 0.05], sigma=10.0)
    profile = found.profile(0, level=0.9)
    critical = float(norm.ppf(0.95))
    assert profile.critical == pytest.approx(critical)

    def weighted(p: Any) -> Any:
        return puromycin(p) / 10

    expected = [scipys_end(weighted, found, 0, far, critical, 1.0) for far in (170.0, 280.0)]
    np.testing.assert_allclose(profile.interval, expected, rtol=1e-5)


def test_priors_and_losses_are_those_of_the_fit() -> None:
    prior = {"x1": (0.05, 0.005)}
    found = fit(puromycin, [200, 0.05], sigma=10.0, prior=prior)

    def weighted(p: Any) -> Any:
        return np.append(puromycin(p) / 10, (p[1] - 0.05) / 0.005)

    critical = float(norm.ppf(0.975))
    expected = [scipys_end(weighted, found, 1, far, critical, 1.0) for far in (0.02, 0.12)]
    np.testing.assert_allclose(found.profile("x1").interval, expected, rtol=1e-4)

    robust = fit(puromycin, [200, 0.05], loss="soft_l1", f_scale=5.0, options={"ftol": 1e-13, "xtol": 1e-13})
    profile = robust.profile(0)
    for value, cost in zip(profile.values, profile.costs, strict=True):
        refit = scipys(lambda z, v=value: puromycin([v, z[0]]), robust.x[1:], loss="soft_l1", f_scale=5.0, xtol=1e-12)
        assert cost == pytest.approx(refit.cost, rel=1e-6)


def test_a_bound_of_the_parameter_cuts_the_interval() -> None:
    found = fit(puromycin, [200, 0.05], bounds=([0, 0.05], [np.inf, 1]))
    profile = found.profile("x1")
    assert profile.interval[0] == 0.05 == profile.values[0]
    assert profile.ends == ("bound", "level")
    assert profile.notes == ["the interval is cut off at the lower bound of x1, 0.05"]
    assert profile.interval[1] == pytest.approx(fit(puromycin, [200, 0.05]).profile("x1").interval[1], rel=1e-5)


def test_bounds_of_the_others_hold_in_refits() -> None:
    seen = []

    def watched(p: Any) -> Any:
        seen.append(p[1])
        return puromycin(p)

    bounds = {"lower": [0, 0.055], "upper": [np.inf, 0.07]}
    found = fit(watched, [200, 0.06], bounds=(bounds["lower"], bounds["upper"]))
    profile = found.profile("x0")
    assert min(seen) >= 0.055
    assert max(seen) <= 0.07
    s, critical = float(np.sqrt(2 * found.cost / 10)), float(t(10).ppf(0.975))
    expected = [scipys_end(puromycin, found, 0, far, critical, s, **bounds) for far in (170.0, 270.0)]
    np.testing.assert_allclose(profile.interval, expected, rtol=1e-4)


def test_a_parameter_that_a_bound_holds_has_a_one_sided_interval() -> None:
    found = fit(puromycin, [200, 0.08], bounds=([0, 0.07], [np.inf, 1]))
    assert found.active_mask[1] == -1
    profile = found.profile("x1")
    assert profile.ends == ("bound", "level")
    assert profile.interval[0] == 0.07
    s = float(np.sqrt(2 * found.cost / (12 - 1 - 1)))
    expected = scipys_end(puromycin, found, 1, 0.3, profile.critical, s)
    assert profile.interval[1] == pytest.approx(expected, rel=1e-4)


def test_an_interval_without_an_end_says_so() -> None:
    """Where the data reach the plateau alone, no rate is too large."""
    times = np.array([2.0, 3, 4, 5, 6, 7])
    data = 3 + np.array([-0.06, 0.02, 0.03, -0.01, 0.01, -0.02])
    found = fit(lambda p: p[0] * (1 - np.exp(-p[1] * times)) - data, [2.5, 1.0])
    profile = found.profile("x1", reach=10)
    assert profile.ends == ("level", "open")
    assert profile.interval[1] == np.inf
    assert 0 < profile.interval[0] < found.x[1]
    assert profile.values[-1] == pytest.approx(found.x[1] + 10 * found.standard_errors[1])
    assert "the upper end was not found" in profile.notes[0]


def test_where_j_fails_the_end_is_not_known() -> None:
    def fails(p: Any) -> Any:
        return puromycin(p) if p[0] < 222 else np.full(12, np.nan)

    profile = fit(fails, [200, 0.05], on_failure="raise").profile("x0")
    assert profile.ends == ("level", "failed")
    assert np.isnan(profile.interval[1])
    assert 219 < profile.values[-1] < 222, "halved ways have come near to it"
    assert "J fails beyond x0" in profile.notes[0]


def test_a_better_fit_is_said_with_where_it_is() -> None:
    """y = p0^2-like twins: from the worse well the profile runs into the better one."""
    x = np.linspace(0, 1, 12)

    def two_wells(p: Any) -> Any:
        return np.append((p[1] - x) * 0.1, [p[0] ** 2 - 1, 0.3 * (p[0] - 1)])

    found = fit(two_wells, [-1.0, 0.4], sigma=0.5)
    assert found.x[0] < 0
    with pytest.warns(DerivativeWarning, match="better fit than the estimate near x0 = .*fit again from best"):
        profile = found.profile("x0", level=0.99)
    assert "better fit" in profile.ends
    again = fit(two_wells, profile.best, sigma=0.5)
    assert again.x[0] == pytest.approx(1.0, abs=1e-3)
    assert again.cost < found.cost


def test_names_numbers_and_structures() -> None:
    found = fit(lambda p: puromycin([p["Vm"], p["K"]]), {"Vm": 200.0, "K": 0.05}, bounds={"K": (1e-4, 1.0)})
    by_name = found.profile("K")
    np.testing.assert_array_equal(found.profile(1).interval, by_name.interval)
    np.testing.assert_array_equal(found.profile(-1).interval, by_name.interval)
    np.testing.assert_allclose(by_name.interval, fit(puromycin, [200, 0.05]).profile(1).interval, rtol=1e-5)
    assert list(found.profile(["K"])) == ["K"]


def test_fixed_parameters_stay() -> None:
    found = fit(lambda p: p[2] * puromycin(p), [200, 0.05, 1.0], bounds=([0, 0, 1], [np.inf, np.inf, 1]))
    profiles = found.profile()
    assert list(profiles) == ["x0", "x1"]
    assert (profiles["x0"].x[:, 2] == 1).all()
    np.testing.assert_allclose(profiles["x1"].interval, fit(puromycin, [200, 0.05]).profile(1).interval, rtol=1e-5)
    with pytest.raises(InputError, match="x2 is fixed at 1"):
        found.profile(2)


class Wide(distfd.SerialExecutor):
    """As many slots as a test wants, on paper."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


def test_it_does_not_depend_on_slots_and_fills_them() -> None:
    waves: list[int] = []

    def watch(event: Any) -> None:
        if isinstance(event, WaveStarted):
            waves.append(event.n_points)

    alone = fit(puromycin, [200, 0.05], executor=Wide(1)).profile()
    found = fit(puromycin, [200, 0.05], executor=Wide(12), observers=[watch])
    waves.clear()
    many = found.profile()
    assert waves[0] == 4 * 3, "two sides of two parameters, each with its Jacobian"
    assert len(waves) == many["x0"].n_waves
    assert sum(waves) == many["x0"].n_evaluations
    for name, profile in alone.items():
        assert profile.x.tobytes() == many[name].x.tobytes()
        assert profile.interval.tobytes() == many[name].interval.tobytes()
    one = found.profile("x1")
    assert one.x.tobytes() == alone["x1"].x.tobytes(), "nor on what else is asked for"


def test_by_any_method_and_in_an_open_evaluator() -> None:
    expected = fit(puromycin, [200, 0.05]).profile("x1").interval
    for method in ("lm", "dogbox", "model"):
        found = fit(puromycin, [200, 0.05], method=method, scheme="central")
        np.testing.assert_allclose(found.profile("x1").interval, expected, rtol=1e-4)
    with distfd.Evaluator(puromycin, executor="serial") as evaluator:
        profile = distfd.least_squares(evaluator, [200, 0.05]).profile("x1")
        np.testing.assert_allclose(profile.interval, expected, rtol=1e-5)
        again = distfd.least_squares(evaluator, [200, 0.05]).profile("x1")
    assert again.n_evaluations == 0
    assert again.x.tobytes() == profile.x.tobytes()


def test_parameters_that_are_not_told_apart_have_none_and_do_not_disturb_others() -> None:
    def twins(p: Any) -> Any:
        return (p[0] + p[2]) * CONCENTRATION / (p[1] + CONCENTRATION) - RATE

    found = fit(twins, [100, 0.05, 100])
    with pytest.raises(InputError, match=r"x0 has no likelihood interval.*do not tell it apart from x2"):
        found.profile("x0")
    s, critical = float(np.sqrt(2 * found.cost / 9)), float(t(9).ppf(0.975))
    reference = fit(puromycin, [200, 0.05])
    expected = [scipys_end(puromycin, reference, 1, far, critical, s) for far in (0.03, 0.12)]
    np.testing.assert_allclose(found.profile("x1").interval, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"parameters": "Km"}, "there is no parameter 'Km'"),
        ({"parameters": 2}, "a number below 2"),
        ({"parameters": 0.5}, "a number below 2"),
        ({"level": 95}, "level: must be between 0 and 1"),
        ({"points": 0}, "points: must be a whole number >= 1"),
        ({"reach": np.inf}, "reach: must be a number > 0"),
    ],
)
def test_misuse(given: Any, what: str) -> None:
    found = fit(puromycin, [200, 0.05], names=["Vm", "K"])
    with pytest.raises(InputError, match=what):
        found.profile(**given)


def test_no_interval_without_a_spread() -> None:
    with pytest.raises(InputError, match="no more residuals than parameters"):
        fit(lambda p: np.array([p[0] - 1, p[1] + 2 * p[0]]), [0.0, 0.0]).profile()
    with pytest.raises(InputError, match="all residuals are 0"):
        fit(lambda p: np.array([2.0, 4.0, 8.0]) * p[0], [0.0]).profile()


def test_a_result_from_a_file_has_no_residuals_to_evaluate() -> None:
    found = fit(puromycin, [200, 0.05])
    read = pickle.loads(pickle.dumps(found))  # our own
    assert read.x.tobytes() == found.x.tobytes()
    for other in (read, copy.copy(found)):
        with pytest.raises(InputError, match="fit again, from this x"):
            other.profile("x0")


def test_a_residual_without_a_value_is_left_out() -> None:
    """As in the fit: the interval is that of the data without it."""

    def lacking(p: Any) -> Any:
        residuals = puromycin(p)
        residuals[3] = np.nan
        return residuals

    def without(p: Any) -> Any:
        return np.delete(puromycin(p), 3)

    with pytest.warns(DerivativeWarning, match="output 3 of 12"):
        found = fit(lacking, [200.0, 0.05], on_failure="nan")
    profile, wanted = found.profile(1), fit(without, [200.0, 0.05]).profile(1)
    assert profile.ends == ("level", "level")
    np.testing.assert_allclose(profile.interval, wanted.interval, rtol=1e-4)


def told(found: Any, *names: Any) -> tuple[Any, str]:
    """What a profile gives, and all that it warns of."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        made = found.profile(*names)
    return made, "; ".join(str(each.message) for each in record)


def test_noise_that_slopes_do_not_stand_out_of_is_told_and_soon_over() -> None:
    """A default step differences the noise; a larger one does not, and is what the warning says."""

    def noisy(p: Any) -> Any:
        seed = np.frombuffer(np.asarray(p).tobytes(), dtype=np.uint32)
        return puromycin(p) + 1e-6 * np.random.default_rng(seed).normal(size=len(RATE))

    start, limits = [212.7, 0.0641], distfd.Limits(max_iterations=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        found = fit(noisy, start, limits=limits)
        central = fit(noisy, start, limits=limits, scheme="central", step=1e-3)
    lost, text = told(found, 1)
    assert not lost.converged.all()
    assert re.search(r"profile of x1: .*did not converge.*scheme='central'", text)
    good, text = told(central, 1)
    assert not text
    assert good.ends == ("level", "level")
    assert lost.n_evaluations < 8 * good.n_evaluations


def test_j_that_fails_everywhere_is_told() -> None:
    broken = False

    def fails(p: Any) -> Any:
        if broken:
            raise ValueError("no licence")
        return puromycin(p)

    found = fit(fails, [200.0, 0.05], on_failure="nan")
    broken = True
    profile, text = told(found, 1)
    assert "profile of x1: the lower end is not known: J fails" in text
    assert np.isnan(profile.interval).all()
    assert profile.ends == ("failed", "failed")


def test_a_store_has_what_a_profile_has_evaluated(tmp_path: Any) -> None:
    found = fit(puromycin, [200.0, 0.05], store=tmp_path / "fit.sqlite")
    first, again = found.profile(1), found.profile(1)
    assert first.n_evaluations > 0
    assert (again.n_evaluations, again.n_reused) == (0, first.n_evaluations + first.n_reused)
    np.testing.assert_array_equal(again.interval, first.interval)


@pytest.mark.parametrize("level", [0, 1, 1 - 1e-17, 1e-300, float("nan"), "95"])
def test_levels_that_are_none(level: Any) -> None:
    found = fit(puromycin, [200.0, 0.05])
    with pytest.raises(InputError, match="level: must be between 0 and 1"):
        found.profile(1, level=level)


def test_limits_end_a_profile_and_keep_what_was_refitted() -> None:
    found = fit(puromycin, [200, 0.05], names=["Vm", "K"])
    whole = found.profile("K")
    with pytest.warns(DerivativeWarning, match="end is not known: max_evaluations of 12 reached at K = "):
        cut = found.profile("K", limits=distfd.Limits(max_evaluations=12))
    assert cut.ends == ("limit", "limit")
    assert np.isnan(cut.interval).all()
    assert 12 <= cut.n_evaluations < whole.n_evaluations
    assert set(cut.values) < set(whole.values)
    assert cut.stopped == "max_evaluations of 12 reached"
    with pytest.warns(DerivativeWarning, match="max_wall_time of 1e-09 s reached"):
        found.profile("K", limits=distfd.Limits(max_wall_time=1e-9))
    assert found.profile("K", limits=distfd.Limits(max_evaluations=10_000, max_wall_time=3600)).ends == whole.ends


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (distfd.Limits(max_iterations=3), "a profile takes max_evaluations and max_wall_time, not max_iterations"),
        (100, "limits: must be a distfd.Limits"),
    ],
)
def test_limits_that_a_profile_does_not_have(limits: Any, says: str) -> None:
    found = fit(puromycin, [200, 0.05])
    with pytest.raises(InputError, match=says):
        found.profile(0, limits=limits)
