"""Least squares by a model: SciPy's answers on any number of slots, with bounds, losses, failures, limits and noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize
from in_turn import in_turn
from noisy_objectives import drawn

import distfd
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

T = np.linspace(0, 3, 12)
DATA = 2.0 * np.exp(-0.7 * T) + 0.3 + 0.01 * np.sin(40 * T)
X0 = [1.0, 0.2, 0.0]
SLOTS = (1, 2, 3, 4, 5, 8, 16, 40)


def residuals(x: Any) -> Any:
    return x[0] * np.exp(-x[1] * T) + x[2] - DATA


def rosenbrock(x: Any) -> Any:
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def chain(x: Any) -> Any:
    return np.concatenate((np.diff(np.concatenate(([0.0], x))) - 0.1, 0.3 * (x**2 - 0.5)))


def fit(fun: Callable[[Any], Any], x0: Any, slots: int | None = 4, **options: Any) -> Any:
    return distfd.least_squares(fun, x0, method="model", slots=slots, executor="serial", **options)


@pytest.mark.parametrize("slots", SLOTS)
def test_scipys_answer(slots: int) -> None:
    theirs = scipy.optimize.least_squares(residuals, X0)
    ours = fit(residuals, X0, slots)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=2e-5)
    np.testing.assert_allclose(ours.cost, theirs.cost, rtol=1e-7)
    assert ours.success, ours.message
    assert ours.fun.tolist() == residuals(ours.x).tolist()
    exact = np.stack((np.exp(-ours.x[1] * T), -ours.x[0] * T * np.exp(-ours.x[1] * T), np.ones(12)), axis=1)
    np.testing.assert_allclose(ours.jac, exact, atol=5e-5)
    np.testing.assert_allclose(ours.grad, ours.jac.T @ ours.fun)
    assert ours.first.value == pytest.approx(0.5 * np.sum(residuals(X0) ** 2))
    assert ours.history[-1].value == ours.cost
    values = [row.value for row in ours.history]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("fun", [rosenbrock, chain], ids=["rosenbrock", "chain"])
def test_curved_and_larger_ones(fun: Any, slots: int) -> None:
    x0 = [-1.2, 1.0] if fun is rosenbrock else np.full(6, 0.2)
    theirs = scipy.optimize.least_squares(fun, x0, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    ours = fit(fun, x0, slots)
    assert ours.success
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)
    assert ours.cost <= theirs.cost * (1 + 1e-6) + 1e-10


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
def test_losses_are_scipys(loss: str, slots: int) -> None:
    options: dict[str, Any] = {"loss": loss, "f_scale": 0.005}
    start = [1.95, 0.66, 0.285]  # these losses have several minima
    theirs = scipy.optimize.least_squares(residuals, start, ftol=1e-12, xtol=1e-12, gtol=1e-12, **options)
    ours = fit(residuals, start, slots, **options)
    assert ours.cost <= theirs.cost * (1 + 1e-6)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=2e-3)


def test_a_loss_of_ones_own() -> None:
    def soft(z: Any) -> Any:
        return np.array([2 * (np.sqrt(1 + z) - 1), (1 + z) ** -0.5, -0.5 * (1 + z) ** -1.5])

    own, known = (fit(residuals, X0, loss=loss, f_scale=0.01) for loss in (soft, "soft_l1"))
    assert own.cost == pytest.approx(known.cost, rel=1e-9)


@pytest.mark.parametrize("slots", [1, 3, 4, 16])
def test_bounds_are_kept(slots: int) -> None:
    seen: list[Any] = []
    told: list[Any] = []

    def fun(x: Any) -> Any:
        seen.append(x.copy())
        return residuals(x)

    bounds = ([0, 0, -1], [1.5, 1, 1])
    theirs = scipy.optimize.least_squares(residuals, X0, bounds=bounds)
    ours = fit(fun, X0, slots, bounds=bounds, callback=told.append)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)
    assert ours.x[0] == 1.5, "an active bound is met"
    assert np.all(np.array(seen) >= bounds[0])
    assert np.all(np.array(seen) <= bounds[1])
    assert len(told) == ours.nit
    assert told[-1].tolist() == ours.x.tolist()


@pytest.mark.parametrize("slots", [1, 2, 9])
def test_a_start_at_its_bounds_and_fixed_variables(slots: int) -> None:
    bounds = ([1.0, 0.2, 0.3], [3.0, 2.0, 0.3])
    ours = fit(residuals, [1.0, 0.2, 0.3], slots, bounds=bounds)
    theirs = scipy.optimize.least_squares(lambda p: residuals([*p, 0.3]), [1.0, 0.2])
    np.testing.assert_allclose(ours.x, [*theirs.x, 0.3], rtol=1e-4)
    assert ours.success
    alone = fit(residuals, X0, slots, bounds=(X0, X0))
    assert alone.x.tolist() == X0
    assert alone.n_evaluations == 1


@pytest.mark.parametrize("slots", [1, 2, 4, 12])
def test_a_trial_that_fails_is_a_step_refused(slots: int) -> None:
    failed: list[Any] = []

    def fun(x: Any) -> Any:
        if x[0] > 1.2:
            failed.append(x.copy())
            raise ArithmeticError("diverged")
        return np.array([np.arctan(x[0] - 1), 0.1 * (x[0] - 1)])

    result = fit(fun, [-4.0], slots)
    assert result.x == pytest.approx([1.0], abs=1e-6)
    assert (slots < 4) <= result.n_failed_trials <= len(failed)
    with pytest.raises(distfd.EvaluationError, match="diverged"):
        fit(fun, [4.0], slots)


@pytest.mark.parametrize("slots", [1, 3, 4, 16])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_difference_at_x0_is_asked_for_again(slots: int, lost: int) -> None:
    once: list[int] = []

    def fun(x: Any) -> Any:
        moved = np.flatnonzero(np.asarray(x) != X0)
        if not once and moved.tolist() == [lost]:
            once.append(1)
            raise ArithmeticError("lost")
        return residuals(x)

    result = fit(fun, X0, slots, retries=0)
    assert once
    assert result.success
    assert result.cost == pytest.approx(2.690444356e-4, rel=1e-6)


def test_a_jacobian_without_any_value_is_an_error() -> None:
    def fun(x: Any) -> Any:
        if np.any(np.asarray(x) != X0):
            raise ArithmeticError("only at x0")
        return residuals(x)

    with pytest.raises(distfd.EvaluationError, match="only at x0"):
        fit(fun, X0)


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("seed", range(4))
def test_five_per_cent_that_fail(slots: int, seed: int) -> None:
    def fun(x: Any) -> Any:
        if np.any(np.asarray(x) != X0) and abs(drawn(np.append(x, seed))) > 1.96:
            raise ArithmeticError("failed")
        return residuals(x)

    result = fit(fun, X0, slots, on_failure="nan")
    assert result.cost == pytest.approx(2.690444356e-4, rel=1e-4)


@pytest.mark.parametrize("slots", [1, 3, 4, 16])
@pytest.mark.parametrize("most", [1, 4, 5, 7, 11, 17, 30])
def test_limits_give_the_best_that_was_evaluated(slots: int, most: int) -> None:
    costs: list[float] = []

    def fun(x: Any) -> Any:
        values = rosenbrock(x) if x[0] < 0.9 or len(costs) % 5 else np.full(2, np.nan)
        costs.append(0.5 * float(values @ values))
        return values

    result = fit(fun, [-1.2, 1.0], slots, limits=distfd.Limits(max_evaluations=most), on_failure="nan")
    assert result.n_evaluations <= most + max(slots, 3)
    assert ("max_evaluations" in result.message) == (result.n_evaluations + result.n_reused >= most)
    # Differences beside a point may be lower than it by as much as their steps are long.
    assert result.cost <= np.nanmin(costs) * (1 + 1e-5) + 1e-10
    assert result.jac.shape == (2, 2)
    assert np.isfinite(result.jac).all()


def test_iterations_and_targets_end_it() -> None:
    few = fit(residuals, X0, 1, limits=distfd.Limits(max_iterations=2))
    assert few.nit == 2
    assert len(few.history) == 3
    enough = fit(residuals, X0, 1, limits=distfd.Limits(target=0.05))
    assert enough.success
    assert enough.cost <= 0.05
    assert enough.derivative.scheme == "model", "with one slot no Jacobian is taken on the way"
    loose = fit(residuals, X0, 1, limits=distfd.Limits(tolerance=1e-2))
    assert loose.success
    assert loose.n_evaluations < fit(residuals, X0, 1).n_evaluations


def counted(fun: Any, x0: Any, slots: int, target: float, **more: Any) -> int:
    """Rounds until the cost is the target, a wave of n points taking ceil(n / slots)."""
    rounds = 0

    def watch(event: Any) -> None:
        nonlocal rounds
        if isinstance(event, events.WaveStarted):
            rounds += math.ceil((event.n_points - event.n_reused) / slots)

    fit(fun, x0, slots, limits=distfd.Limits(target=target), observers=[watch], **more)
    return rounds


def test_more_slots_take_fewer_rounds() -> None:
    rounds = [counted(rosenbrock, [-1.2, 1.0], slots, 1e-8) for slots in (1, 4, 12)]
    assert rounds[0] <= 12
    assert rounds[1] <= 6
    assert rounds[2] <= 4


def grows(b: Any) -> Any:
    """BoxBOD of NIST's StRD, with data that the model describes: the first variable grows to 213.8."""
    at = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 10.0])
    with np.errstate(over="ignore"):
        return b[0] * (1 - np.exp(-b[1] * at)) - 213.8 * (1 - np.exp(-0.5472 * at))


@pytest.mark.parametrize("slots", [3, 4])
@pytest.mark.parametrize("x0", [[1.0, 1.0], [1.07175, 1.30214]])
def test_a_variable_that_grows_far_beyond_its_start(x0: list[float], slots: int) -> None:
    """By its size at the start, a step that suits it is thousands of typical sizes of the other one."""
    assert counted(grows, x0, slots, 1e-6) <= 15


def test_sizes_that_are_given_stay() -> None:
    sizes = [1.0, 1.0]
    rounds = counted(grows, [1.0, 1.0], 3, 1e-6), counted(grows, [1.0, 1.0], 3, 1e-6, x_scale=sizes)
    assert rounds[0] < rounds[1]


def test_a_round_holds_no_more_than_its_slots() -> None:
    waves: list[int] = []

    def watch(event: Any) -> None:
        if isinstance(event, events.WaveStarted):
            waves.append(event.n_points - event.n_reused)

    for slots in (2, 4, 7, 9, 14):
        waves.clear()
        fit(chain, np.full(6, 0.2), slots, observers=[watch])
        begun, ended = waves[0], waves[-1]
        assert begun == 7
        assert max(waves[1:-1]) <= slots
        assert ended <= max(7, slots)


@pytest.mark.parametrize("scheme", ["central", "complex-step", "backward"])
@pytest.mark.parametrize("slots", [1, 4, 30])
def test_other_schemes(scheme: Any, slots: int) -> None:
    result = fit(residuals, X0, slots, scheme=scheme)
    assert result.success
    assert result.cost == pytest.approx(2.690444356e-4, rel=1e-6)


def test_missing_data_are_left_out() -> None:
    def fun(x: Any) -> Any:
        values = residuals(x)
        values[3] = np.nan
        return values

    with pytest.warns(distfd.DerivativeWarning, match="no value at output 3 of 12"):
        result = fit(fun, X0, 4, on_failure="nan")
    kept = np.arange(12) != 3
    theirs = scipy.optimize.least_squares(lambda x: residuals(x)[kept], X0)
    np.testing.assert_allclose(result.x, theirs.x, rtol=1e-4)
    assert result.kept.tolist() == kept.tolist()
    assert result.jac.shape == (11, 3)


def noisy(level: float) -> Callable[[Any], Any]:
    def fun(x: Any) -> Any:
        return residuals(x) + level * drawn(x, T.shape)

    return fun


@pytest.mark.parametrize("slots", [1, 3, 4, 16])
@pytest.mark.parametrize(("level", "how"), [(1e-6, "known"), (1e-4, "known"), (1e-6, "asked"), (1e-4, "step")])
def test_noise_sets_the_differences(level: float, how: str, slots: int) -> None:
    ways: dict[str, dict[str, Any]] = {
        "known": {"options": {"noise": level}},
        "asked": {"step": "auto"},
        "step": {"step": distfd.NoiseStep(noise=level)},
    }
    result = fit(noisy(level), X0, slots, **ways[how])
    assert result.success, result.message
    assert 0.2 < result.noise / level < 5
    best = scipy.optimize.least_squares(residuals, X0).cost
    there = 0.5 * float(np.sum(residuals(result.x) ** 2))
    assert there - best < 20 * level * np.sqrt(2 * best) + 50 * level**2


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_noise_that_nobody_told_of_is_seen(slots: int) -> None:
    result = fit(noisy(1e-4), X0, slots)
    best = scipy.optimize.least_squares(residuals, X0).cost
    assert 0.5 * float(np.sum(residuals(result.x) ** 2)) < best + 1e-3
    assert 1e-5 < result.noise < 1e-3


def test_what_it_takes_and_what_not() -> None:
    with pytest.raises(distfd.InputError, match="sparsity: the method model takes dense Jacobians only"):
        fit(residuals, X0, sparsity=np.ones((12, 3)))
    with pytest.raises(distfd.InputError, match="slots: must be a whole number >= 1"):
        fit(residuals, X0, slots=0)
    with pytest.raises(distfd.InputError, match="a fit by model has no 'xtoll'; did you mean 'xtol'"):
        fit(residuals, X0, options={"xtoll": 1.0})
    with pytest.raises(distfd.InputError, match="noise must be a number > 0"):
        fit(residuals, X0, options={"noise": 0.0})
    with pytest.raises(distfd.InputError, match="x_scale: the method model takes typical sizes"):
        fit(residuals, X0, x_scale="jac")
    with pytest.raises(distfd.InputError, match="x_scale: must be a number or 3 of them"):
        fit(residuals, X0, x_scale=[1.0, 2.0])
    assert fit(residuals, X0, x_scale=[2.0, 0.5, 0.3]).success


def test_many_variables_and_residuals_are_fast_enough() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((300, 100)) / 10
    truth = rng.standard_normal(100)

    def fun(x: Any) -> Any:
        return np.tanh(a @ x) - np.tanh(a @ truth)

    result = fit(fun, np.zeros(100), 101, limits=distfd.Limits(max_iterations=8))
    assert result.cost < 1e-6
    few = fit(fun, np.zeros(100), 10, limits=distfd.Limits(max_evaluations=180))
    assert few.cost < few.first.value / 20


@pytest.mark.parametrize("slots", [1, 2, 4, 12])
def test_where_the_residuals_vanish_the_jacobian_is_one_of_differences(slots: int) -> None:
    """The regression's was off by as much as its own size, and so were the standard errors."""

    def fun(x: Any) -> Any:
        far = np.array([np.arctan(x[0] - 1.0), x[0] * (x[1] - 2.0)])
        return np.sign(far) * np.maximum(np.abs(far) - 0.2, 0.0)

    result = fit(fun, [3.0, 0.5], slots)
    assert result.message == "the residuals vanish"
    assert result.cost == 0
    assert result.derivative.scheme == "forward"
    assert not result.jac.any(), "the residuals are 0 all around the end"


def test_a_second_search_that_converges_at_a_higher_cost_does_not_end_the_fit() -> None:
    """The message was of the second search, in a dip at a cost of 0.18, and x of the first, at 0.005."""

    def fun(x: Any) -> Any:
        slope = 2 - 0.95 * x[0] if x[0] < 2 else 0.1
        return np.array([slope - 0.3 * np.exp(-(((x[0] - 1.15) / 0.08) ** 2))])

    result = fit(fun, [1.0], 4)
    assert result.cost == pytest.approx(0.005)
    assert result.x[0] > 2
    assert result.message == "gtol: the gradient is as small"


@pytest.mark.parametrize(("slots", "known"), in_turn([1, 2, 4, 16], [True, False], 2))
def test_noise_does_not_spoil_the_standard_errors(slots: int, known: bool) -> None:
    """The last Jacobian had the scheme's own short steps: standard errors were a thousand times too small."""
    t = np.linspace(0, 3, 15)
    data = 2 * np.exp(-0.7 * t) + 0.3 + 0.01 * np.random.default_rng(2).standard_normal(15)

    def residuals(x: Any) -> Any:
        return x[0] * np.exp(-x[1] * t) + x[2] - data

    start = [1.0, 0.2, 0.0]
    exact = distfd.least_squares(residuals, start, scheme="central", executor="serial").standard_errors
    for level, seed in ((1e-5, 0), (1e-3, 1)):
        rng = np.random.default_rng(seed)

        def noisy(x: Any, level: float = level, rng: Any = rng) -> Any:
            return residuals(x) + level * rng.standard_normal(15)

        found = distfd.least_squares(
            noisy,
            start,
            method="model",
            options={"noise": level} if known else {},
            slots=slots,
            executor="serial",
            check=False,
        )
        assert found.success
        np.testing.assert_allclose(found.standard_errors / exact, 1.0, atol=0.5)


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_repair_goes_with_any_number_of_slots(slots: int) -> None:
    """With few slots a round has slopes along directions, for which there is no repair: that ended the run."""

    def gap(x: Any) -> Any:
        if 0.5 < x[1] < 0.6:
            raise ArithmeticError("no value here")
        return residuals(x)

    found = fit(gap, X0, slots, on_failure="repair")
    assert found.success
    np.testing.assert_allclose(found.x, fit(residuals, X0, slots).x, rtol=1e-4)


@pytest.mark.parametrize("graded", [False, True])
def test_a_hessian_that_almost_vanishes_gives_no_warning(*, graded: bool) -> None:
    from distfd.optimization.model_fit_step import _in_ball

    with np.errstate(over="raise", invalid="raise"):
        step = _in_ball(np.diag([1e-300, 1e-305]), np.array([1.0, 1e10]), np.zeros(2), 0.5, graded=graded)
    assert np.linalg.norm(step) <= 0.5 * (1 + 1e-9)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy"])
def test_outliers_that_a_loss_leaves_aside_are_no_fall_that_is_left(loss: Any) -> None:
    """The residuals have noise, and some are outliers: without the loss's weights, a step would lower their squares."""
    t, rng = np.linspace(0.0, 3.0, 30), np.random.default_rng(0)
    data = 2 * np.exp(-1.3 * t) + 0.05 * rng.standard_normal(30)
    data[::7] += 3

    def fun(p: Any) -> Any:
        return p[0] * np.exp(-p[1] * t) - data + 1e-5 * rng.standard_normal(30)

    found = distfd.least_squares(
        fun, [1.0, 1.0], method="model", loss=loss, f_scale=0.1, slots=4, executor="serial", check=False
    )
    assert found.success, found.message
    assert found.noise, "or nothing is tried here"
