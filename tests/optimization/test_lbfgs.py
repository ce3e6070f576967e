"""The L-BFGS that tries several points a round: solutions, bounds, failures, replays, and how few rounds it takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize
from problems import PROBLEMS
from scipy.optimize import rosen, rosen_der

import distfd
from distfd.differentiation.method import Request
from distfd.executors.serial import SerialExecutor
from distfd.optimization.lbfgs import Found, Search
from distfd.optimization.lbfgs_hessian import Model, conjugate, two_loops
from distfd.optimization.lbfgs_trials import choose, shorter
from distfd.optimization.plain_gradients import PlainGradients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Wide(SerialExecutor):
    """As many slots as a test wants, on paper."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


def search(
    fun: Callable[[Floats], float], grad: Callable[[Floats], Any], x0: Any, trials: int, rounds: int, **options: Any
) -> tuple[Search, list[float], list[Floats]]:
    """Rounds with exact gradients: the search, the least value of each round, and all points."""
    x = np.array(x0, dtype=float)
    made = Search(x, options.pop("lower", np.full(len(x), -np.inf)), options.pop("upper", np.full(len(x), np.inf)))
    least, points = [], []
    for _ in range(rounds):
        found = []
        for at, wants in made.ask(trials, options.get("values", 0)):
            points.append(at)
            value = fun(at)
            found.append(Found(at, value, grad(at) if wants and np.isfinite(value) else None))
        made.tell(found)
        least.append(min((each.value for each in found if np.isfinite(each.value)), default=math.inf))
    return made, least, points


def slope(x: Floats) -> Floats:
    return np.asarray(rosen_der(x))


def spd(d: int, condition: float, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return np.asarray((q * np.logspace(0, np.log10(condition), d)) @ q.T)


def test_conjugate_pairs_keep_every_secant() -> None:
    a = spd(6, 50.0)
    steps = np.random.default_rng(0).normal(size=(4, 6))
    block = conjugate([(s, a @ s) for s in steps], 6)
    table = np.array([[s @ y for _, y in block] for s, _ in block])
    np.testing.assert_allclose(table, np.eye(4), atol=1e-10)
    for s in steps:
        np.testing.assert_allclose(two_loops(block[::-1], a @ s, 0.3), s, rtol=1e-9, atol=1e-9)


def test_two_loops_are_bfgs() -> None:
    # Against the update formula itself, H+ = (I - r s y') H (I - r y s') + r s s'.
    rng, d = np.random.default_rng(3), 5
    a = spd(d, 10.0)
    pairs = [(s, a @ s) for s in rng.normal(size=(3, d))]
    h = 0.7 * np.eye(d)
    for s, y in pairs:
        r = 1 / (s @ y)
        left = np.eye(d) - r * np.outer(s, y)
        h = left @ h @ left.T + r * np.outer(s, s)
    v = rng.normal(size=d)
    np.testing.assert_allclose(two_loops(pairs, v, 0.7), h @ v, rtol=1e-10)


def test_pairs_without_positive_curvature_are_left_out() -> None:
    s = np.array([1.0, 0.0])
    assert conjugate([(s, -s), (s, 2 * s)], 5)[0][1] @ s > 0
    assert two_loops([(s, -s)], s, 0.5).tolist() == [0.5, 0.0]
    model = Model(2, 10)
    model.learn([(s, np.array([np.nan, 1.0]))])
    assert not model.history


def test_a_quadratic_takes_as_many_rounds_as_its_directions_need() -> None:
    # Four gradients a round tell four columns of the Hessian at most: d = 20 takes seven rounds and not hundreds.
    a = spd(20, 1e6)
    x0 = np.random.default_rng(2).normal(size=20)

    def fun(x: Floats) -> float:
        return float(x @ a @ x) / 2

    _, least, _ = search(fun, lambda x: a @ x, x0, 4, 20)
    assert min(least) < 1e-9 * fun(x0)
    _, alone, _ = search(fun, lambda x: a @ x, x0, 1, 20)
    assert min(alone) > min(least)


@pytest.mark.parametrize(("trials", "values"), [(1, 0), (1, 3), (2, 0), (4, 0), (9, 2)])
def test_it_descends_to_a_minimum_whatever_it_has_room_for(trials: int, values: int) -> None:
    made, _, _ = search(rosen, slope, [-1.2, 1.0, 0.5], trials, 90, values=values)
    np.testing.assert_allclose(made.x, 1.0, atol=1e-4)


def test_bounds_are_kept_and_the_solution_is_scipys() -> None:
    rng = np.random.default_rng(4)
    for case in range(6):
        d = 6
        a, b = spd(d, 1e3, seed=case), 5 * rng.normal(size=d)
        lower, upper = -rng.uniform(0, 1, d), rng.uniform(0, 1, d)
        upper[0] = lower[0] = 0.1
        x0 = np.clip(rng.normal(size=d), lower, upper)
        fun = lambda x, a=a, b=b: float(x @ a @ x / 2 - b @ x)  # noqa: E731
        grad = lambda x, a=a, b=b: a @ x - b  # noqa: E731
        made, _, points = search(fun, grad, x0, 4, 40, lower=lower, upper=upper)
        for x in points:
            assert (x >= lower).all()
            assert (x <= upper).all()
        theirs = scipy.optimize.minimize(
            fun, x0, jac=grad, bounds=list(zip(lower, upper, strict=True)), options={"ftol": 1e-15, "gtol": 1e-10}
        )
        np.testing.assert_allclose(made.x, theirs.x, atol=1e-5)
        assert np.abs(made.projected_gradient).max() < 1e-4


def test_failed_trials_are_steps_that_are_refused() -> None:
    def fun(x: Floats) -> float:
        return math.nan if x[0] > 1.0 else float((x[0] - 0.9) ** 2 + 10 * x[1] ** 2)

    made, _, _ = search(fun, lambda x: np.array([2 * (x[0] - 0.9), 20 * x[1]]), [-5.0, 3.0], 2, 30)
    np.testing.assert_allclose(made.x, [0.9, 0.0], atol=1e-5)


def test_values_never_rise() -> None:
    x = np.array([-1.2, 1.0])
    made = Search(x, np.full(2, -np.inf), np.full(2, np.inf))
    before = math.inf
    for _ in range(30):
        made.tell([Found(at, float(rosen(at)), slope(at)) for at, _ in made.ask(3)])
        assert made.value <= before
        before = made.value


def test_what_is_tried() -> None:
    chosen = choose(4, 2, 5, failed=False, growing=False)
    assert [trial.along for trial in chosen] == ["step", "step", "side", "side", "step", "step"]
    assert chosen[0].length == 1.0
    assert [trial.gradient for trial in chosen] == [True] * 4 + [False] * 2
    assert len({trial.length for trial in chosen if trial.along == "step"}) == 4
    assert max(t.length for t in choose(2, 0, 5, failed=False, growing=True)) > 1
    assert not any(trial.along == "side" for trial in choose(4, 0, 1, failed=False, growing=False))


def test_a_shorter_step_is_where_the_parabola_is_least() -> None:
    assert shorter(1.0, -1.0, 1.0, 1.5) == pytest.approx(1 / 3)
    assert shorter(1.0, -1.0, 2.0, math.inf) == pytest.approx(0.2)
    assert shorter(1.0, -1.0, 1.0, 1e9) == pytest.approx(0.05)


@pytest.mark.parametrize("slots", [1, 16, *(pytest.param(w, marks=pytest.mark.slow) for w in (4, 7, 200))])
def test_minimize_arrives_with_any_slots(slots: int) -> None:
    result = distfd.minimize(rosen, [-1.2, 1.0, 1.0], method="L-BFGS", executor=Wide(slots), scheme="central")
    assert result.success, result.message
    np.testing.assert_allclose(result.x, 1.0, atol=1e-3)
    assert result.fun == rosen(result.x)
    assert result.derivative.value == result.fun


def test_bounds_reach_every_point_of_minimize() -> None:
    seen: list[Floats] = []

    def fun(x: Floats) -> float:
        seen.append(x.copy())
        return float(rosen(x))

    bounds = [(-2.0, 2.0), (-2.0, 0.9), (None, None)]
    ours = distfd.minimize(fun, [-1.2, 0.5, 1.0], method="L-BFGS", bounds=bounds, executor=Wide(16), scheme="central")
    theirs = distfd.minimize(rosen, [-1.2, 0.5, 1.0], bounds=bounds, executor="serial", scheme="central")
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)
    assert np.array(seen)[:, 1].max() <= 0.9
    assert np.array(seen)[:, 0].min() >= -2.0


def test_a_replay_with_other_slots_makes_the_same_iterates(tmp_path: Path) -> None:
    def run(slots: int, most: int | None) -> tuple[list[bytes], Any]:
        seen: list[bytes] = []
        result = distfd.minimize(
            rosen,
            [-1.2, 1.0, 1.0],
            method="L-BFGS",
            executor=Wide(slots),
            store=tmp_path / "values.sqlite",
            journal=tmp_path / "journal",
            callback=lambda x: seen.append(x.tobytes()),
            limits=distfd.Limits(max_iterations=most),
        )
        return seen, result

    first, _ = run(16, 12)
    again, result = run(3, 12)
    assert again == first
    assert result.n_evaluations == 0, "all of it was known"
    _, uninterrupted = run(3, 20)
    assert uninterrupted.nit >= 12


def test_a_failure_at_the_start_is_an_error_and_elsewhere_a_refused_step() -> None:
    def fun(x: Floats) -> float:
        if x[0] > 0.5:
            raise ArithmeticError("too far")
        return float((x[0] - 0.4) ** 2 + x[1] ** 2)

    result = distfd.minimize(fun, [-3.0, 1.0], method="L-BFGS", executor=Wide(12), scheme="central")
    np.testing.assert_allclose(result.x, [0.4, 0.0], atol=1e-4)
    with pytest.raises(distfd.EvaluationError, match="too far"):
        distfd.minimize(fun, [1.0, 1.0], method="L-BFGS", executor=Wide(12))


def test_options_are_looked_at() -> None:
    with pytest.raises(distfd.InputError, match=r"L-BFGS has no 'maxfun'"):
        distfd.minimize(rosen, [0.0, 0.0], method="L-BFGS", executor="serial", options={"maxfun": 3})
    with pytest.raises(distfd.InputError, match="maxcor must be a whole number >= 1"):
        distfd.minimize(rosen, [0.0, 0.0], method="L-BFGS", executor="serial", options={"maxcor": 0})
    few = distfd.minimize(rosen, [0.0, 0.0], method="L-BFGS", executor="serial", options={"maxiter": 2})
    assert few.nit == 2
    assert not few.success
    target = distfd.minimize(rosen, [0.0, 0.0], method="L-BFGS", executor="serial", limits=distfd.Limits(target=0.5))
    assert target.success
    assert target.fun <= 0.5


def test_one_sided_differences_become_central_once() -> None:
    with distfd.Evaluator(rosen, executor="serial") as evaluator, evaluator.checked(None):
        gradients = PlainGradients(evaluator)
        counts = []
        for refined in (True, False):
            request = gradients.plan(np.array([0.5, 0.2])).advance(())
            assert isinstance(request, Request)
            counts.append(len(request.points))
            assert gradients.refine() is refined
    assert counts == [3, 5]


SMALL = ("beale", "powell singular", "brown dennis", "logistic regression", "trigonometric", "kowalik osborne",
         "watson", "broyden tridiagonal")  # fmt: skip


@pytest.mark.slow
def test_four_gradients_a_round_take_fewer_rounds_than_scipys_calls() -> None:
    ratios = []
    for name in SMALL:
        problem = PROBLEMS[name]
        fun = lambda x, problem=problem: float(problem.value(x[None])[0])  # noqa: E731
        values: list[float] = []

        def both(x: Floats, problem: Any = problem, values: list[float] = values) -> Any:
            values.append(float(problem.value(x[None])[0]))
            return values[-1], problem.gradient(x)

        best = scipy.optimize.minimize(
            both, problem.x0, jac=True, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 1e-9}
        ).fun
        target = best + 1e-6 * (values[0] - best)
        theirs = next(k for k, value in enumerate(values) if value <= target) + 1
        _, least, _ = search(fun, problem.gradient, problem.x0, 4, 60)
        ours = next((k for k, value in enumerate(least) if value <= target), 10 * theirs) + 1
        ratios.append(ours / theirs)
    assert np.median(ratios) <= 0.85, ratios


def test_a_j_that_falls_for_ever_is_no_success() -> None:
    """At x of 1e17 and more a slope of 1 was lost in x - g, and so was called 0."""
    found = distfd.minimize(lambda x: -x[0] - x[1], [-1.2, 1.0], method="L-BFGS", executor="serial")
    assert not found.success
    assert "may have no minimum" in found.message
    np.testing.assert_allclose(found.jac, -1, rtol=1e-6)
    assert found.n_evaluations < 100
