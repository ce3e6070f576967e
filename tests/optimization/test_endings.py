"""How optimisations end: histories, searches that J's failures stop, gradients that are looked at twice."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from in_turn import in_turn
from scipy.optimize import rosen

import distfd
from distfd.executors.serial import SerialExecutor
from distfd.workers.threads import one_blas_thread

if TYPE_CHECKING:
    from pathlib import Path

X0 = [-1.2, 1.0]


class Wide(SerialExecutor):
    """As many slots as a test wants, on paper."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "L-BFGS"])
def test_history_has_a_row_for_x0_and_each_iterate(method: Any) -> None:
    seen: list[float] = []
    result = distfd.minimize(
        rosen, X0, method=method, executor="serial", callback=lambda x: seen.append(float(rosen(x)))
    )
    assert [row.iteration for row in result.history] == list(range(len(seen) + 1))
    assert [row.value for row in result.history] == pytest.approx([rosen(np.array(X0)), *seen], rel=1e-12)
    slopes = [row.gradient_norm for row in result.history]
    assert slopes[0] == pytest.approx(np.linalg.norm([-215.6, -88.0]), rel=1e-5)
    assert slopes[-1] < 0.01
    spent = [row.n_evaluations for row in result.history]
    assert spent == sorted(spent)
    assert spent[0] >= 3
    assert spent[-1] <= result.n_evaluations + result.n_reused


def test_history_prints_as_a_table_that_stays_short() -> None:
    found = distfd.minimize(rosen, [-1.2, 1.0], executor="serial")
    lines = repr(found.history).splitlines()
    assert lines[0].split() == ["iteration", "J", "|g|", "evaluations"]
    assert lines[1].split()[0] == "0"
    assert lines[-1].split()[0] == str(found.nit)
    assert len(lines) <= 25 < len(found.history)


def test_a_doubt_is_told_once_and_in_the_line_that_called() -> None:
    rng = np.random.default_rng(1)
    with pytest.warns(distfd.DerivativeWarning, match="noise above the signal|not resolved") as told:
        distfd.minimize(
            lambda x: float((x - 1) @ (x - 1) + 1e-3 * rng.normal()), [3.0, 2.0], step="auto", executor="serial"
        )
    texts = [str(one.message).partition(" (")[0] for one in told]
    assert len(texts) == len(set(texts))
    assert {one.filename for one in told} == {__file__}


def test_history_of_a_fit_is_of_the_cost() -> None:
    result = distfd.least_squares(lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), X0, executor="serial")
    assert result.history[0].value == pytest.approx(0.5 * (4.4**2 + 2.2**2))
    assert result.history[0].gradient_norm == pytest.approx(0.5 * np.linalg.norm([-215.6, -88.0]), rel=1e-5)
    assert result.history[-1].value == pytest.approx(result.cost, abs=1e-12)


def test_history_can_be_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    result = distfd.minimize(rosen, X0, executor="serial")
    axes = distfd.plot.convergence(result)
    assert len(axes.lines[0].get_xdata()) == len(result.history)
    import matplotlib.pyplot as plt

    plt.close("all")


class Island:
    """J, which is known around one point alone."""

    def __call__(self, x: Any) -> float:
        if np.abs(np.asarray(x) - X0).max() > 1e-4:
            raise ArithmeticError("no value here")
        return float(rosen(x))


@pytest.mark.parametrize("method", ["L-BFGS-B", "L-BFGS", "BFGS", "TNC", "SLSQP"])
def test_a_search_that_failures_stop_says_so(method: Any) -> None:
    result = distfd.minimize(Island(), X0, method=method, executor=Wide(12))
    if np.array_equal(result.x, X0):
        assert not result.success, result.message
        assert "J failed at " in result.message
        assert "tried after the last iterate" in result.message
    assert result.n_failed_trials > 0


def tilted(x: Any) -> float:
    """1e6 (x - 1e-3)^2, bent so much that forward differences at 1e-3 - h / 2 are 0."""
    return float(1e6 * np.sum((np.asarray(x) - 1e-3) ** 2))


def test_a_biased_gradient_below_gtol_is_looked_at_again() -> None:
    h = 1e-4
    start = np.array([1e-3 - h / 2])
    options: dict[str, Any] = {"step": distfd.AbsoluteStep(h), "executor": "serial"}
    assert abs(distfd.gradient(tilted, start, **options)[0]) < 1e-5
    assert distfd.minimize(tilted, start, **options).fun == tilted(start), "SciPy's methods stop there"
    result = distfd.minimize(tilted, start, method="L-BFGS", **options)
    assert result.success
    assert result.fun < 1e-6 * tilted(start)
    assert result.derivative.scheme == "central"


def test_the_second_look_costs_one_round_where_it_agrees() -> None:
    result = distfd.minimize(lambda x: float(x @ x), [0.0, 0.0], method="L-BFGS", executor="serial")
    assert result.success
    assert result.message == "gradient below gtol"
    assert result.n_evaluations == 3 + 4, "x0 with forward differences, then two central ones"


def test_a_failure_at_the_second_look_is_told() -> None:
    def fun(x: Any) -> float:
        if x[0] < 0:
            raise ArithmeticError("below")
        return float(x[0] ** 2)

    result = distfd.minimize(fun, [0.0], method="L-BFGS", executor="serial")
    assert result.success
    assert "J fails at points of central differences" in result.message


def test_a_lone_trial_at_which_j_fails_takes_its_stencil_with_it() -> None:
    made: list[float] = []

    def fun(x: Any) -> float:
        made.append(float(x[0]))
        if x[0] > 0.3:
            raise ArithmeticError("too far")
        return float((x[0] - 0.4) ** 2 + x[1:] @ x[1:])

    limits = distfd.Limits(max_iterations=6)
    distfd.minimize(fun, [-3.0, *[1.0] * 7], method="L-BFGS", executor="serial", options={"trials": 1}, limits=limits)
    beyond = [x for x in made if x > 0.3]
    assert beyond, "it went there"
    assert len(beyond) == len(set(beyond)), "J(x) alone at each of them, and none of the points beside it"


class Restarting:
    """A simulator with states."""

    def evaluate(self, x: Any) -> float:
        return float(x @ x)

    def snapshot(self) -> int:
        return 0

    def restore(self, state: int) -> None:
        pass


@pytest.mark.parametrize("warm", ["iterate", "baseline"])
def test_warm_starts_are_refused_by_the_method_of_many_points(warm: Any) -> None:
    with pytest.raises(distfd.InputError, match=rf"warm: {warm} .* several x in one wave; use method L-BFGS-B"):
        distfd.minimize(Restarting, X0, method="L-BFGS", executor="serial", warm=warm)


@pytest.mark.parametrize("on_failure", ["nan", "repair"])
def test_an_accepted_trial_whose_gradient_is_broken_is_refused(on_failure: Any) -> None:
    # Points of a stencil may fall into it while the trial itself has a value.
    def fun(x: Any) -> float:
        if 0.25 < x[0] < 0.2500001:
            raise ArithmeticError("a crack")
        return float((x[0] - 0.2) ** 2 + x[1] ** 2)

    result = distfd.minimize(fun, [1.0, 1.0], method="L-BFGS", executor=Wide(9), on_failure=on_failure)
    assert result.fun < 1e-8
    assert np.isfinite(result.jac).all()


def test_blas_has_one_thread_inside_and_as_many_as_before_outside() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before = threads()
    with one_blas_thread():
        with one_blas_thread():
            assert set(threads()) <= {1}
        assert set(threads()) <= {1}
    assert threads() == before


class Slow:
    """Rosenbrock's function, on Ray."""

    def __call__(self, x: Any) -> float:
        return float(rosen(x))


@pytest.mark.slow
def test_a_replay_on_ray_with_other_slots_makes_the_same_iterates(tmp_path: Path) -> None:
    def run(slots: int, most: int) -> tuple[list[bytes], Any]:
        seen: list[bytes] = []
        result = distfd.minimize(
            Slow(),
            [-1.2, 1.0, 1.0],
            method="L-BFGS",
            executor=distfd.RayExecutor(max_slots=slots, num_cpus=8),
            store=tmp_path / "values.sqlite",
            version="1",
            journal=tmp_path / "journal",
            callback=lambda x: seen.append(x.tobytes()),
            limits=distfd.Limits(max_iterations=most),
        )
        return seen, result

    first, _ = run(8, 8)
    again, result = run(3, 8)
    assert again == first
    assert result.n_evaluations == 0
    longer, _ = run(2, 10)
    assert longer[:8] == first


def test_a_namespace_with_a_history_of_more_columns_is_drawn() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    axes = distfd.plot.convergence(SimpleNamespace(history=[(0, 2.0, math.nan, 3), (1, 1.0, 0.5, 6)]))
    assert len(axes.lines) == 1
    import matplotlib.pyplot as plt

    plt.close("all")


def _noisy_bowl(size: float, seed: int) -> Any:
    bends = np.array([[3.0, 1.0], [1.0, 2.0]])

    def fun(x: Any) -> float:
        rng = np.random.default_rng([seed, *np.array(x).view(np.uint32)])
        return float(0.5 * x @ bends @ x - x[0] + size * rng.standard_normal())

    return fun, bends


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [1e-6, 1e-8, 1e-10])
def test_a_short_step_in_noise_is_no_convergence(size: float, seed: int) -> None:
    """TNC ends where its line search, in noise, made a step that is too short, however large the gradient is."""
    fun, bends = _noisy_bowl(size, seed)
    found = distfd.minimize(fun, [3.0, -2.0], method="TNC", executor="serial", check=False)
    left = float(np.abs(bends @ found.x - [1, 0]).max())
    assert left < 0.1 or not found.success


def test_an_end_on_the_way_down_says_so() -> None:
    told = 0
    for seed in range(2, 8):
        fun, bends = _noisy_bowl(1e-10, seed)
        found = distfd.minimize(fun, [3.0, -2.0], method="TNC", executor="serial", check=False)
        assert not found.success or float(np.abs(bends @ found.x - [1, 0]).max()) < 0.1
        told += "clearly not zero" in found.message and "J falls by" in found.message
    assert told


@pytest.mark.parametrize("method", ["L-BFGS-B", "L-BFGS", "TNC", "BFGS"])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_gradient_that_a_loose_tolerance_leaves_is_a_success(method: Any, size: float) -> None:
    def fun(x: Any) -> float:
        return size * float(np.sum((x - 1) ** 2) + 0.1 * np.sum(x**4))

    given = {"method": method, "executor": "serial", "check": False}
    found = distfd.minimize(fun, [3.0, -2.0], limits=distfd.Limits(tolerance=1e-2 * size), **given)
    assert found.success, found.message
    assert distfd.minimize(fun, [3.0, -2.0], **given).success or size > 1


@pytest.mark.parametrize(
    ("method", "fun"),
    in_turn(
        ["L-BFGS", "CG", "BFGS", "TNC", "Newton-CG"],
        [
            lambda x: float(-(x[0] ** 2) - x[1]),
            lambda x: float(-np.sum(x)),
            lambda x: float(np.exp(-x[0]) - x[1]),
            lambda x: float(-(x[0] ** 4) + x[1] ** 2),
        ],
        2,
    ),
)
def test_a_search_that_runs_away_ends_soon(method: Any, fun: Any) -> None:
    limits = distfd.Limits(max_evaluations=600)
    found = distfd.minimize(fun, [1.0, 1.0], method=method, executor="serial", check=False, limits=limits)
    assert not found.success
    # Newton-CG stops where J's curvature is all but gone, and TNC where x overflows.
    assert any(text in found.message for text in ("without limit", "clearly not zero", "without bound"))
    assert found.n_evaluations < 600


def test_a_bound_far_away_is_kept_by_a_search_with_growing_steps() -> None:
    found = distfd.minimize(
        lambda x: float(-x[0] + (x[1] - 1) ** 2),
        [1.0, 3.0],
        method="L-BFGS",
        bounds=[(0, 1e6), (None, None)],
        executor="serial",
        check=False,
    )
    assert found.success, found.message
    assert found.x == pytest.approx([1e6, 1], rel=1e-5)
    assert found.n_evaluations < 300


@pytest.mark.parametrize("method", ["trust-ncg", "trust-krylov", "trust-exact", "dogleg", "L-BFGS-B"])
def test_a_run_that_is_stopped_returns_its_last_iterate(method: Any) -> None:
    """SciPy's trust regions report an iterate before its gradient is known."""

    def valley(x: Any) -> float:
        return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + (x[2] - x[0]) ** 2)

    seen: list[float] = []

    def third(intermediate_result: Any) -> bool:
        seen.append(intermediate_result.fun)
        return len(seen) == 3

    start = [-1.2, 1.0, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)  # of a Hessian along a flat coordinate
        stopped = distfd.minimize(valley, start, method=method, executor="serial", callback=third)
        limited = distfd.minimize(
            valley, start, method=method, executor="serial", limits=distfd.Limits(max_iterations=3)
        )
    for found in (stopped, limited):
        assert (found.nit, found.fun, found.success) == (3, min(seen), False)
        assert [row.value for row in found.history][1:] == seen
        assert found.history[-1].gradient_norm == pytest.approx(np.linalg.norm(found.jac))
    assert (stopped.message, limited.message) == ("the callback stopped it", "max_iterations of 3 reached")


@pytest.mark.parametrize("method", ["trf", "model"])
def test_a_target_of_a_fit_is_one_of_its_cost(method: Any) -> None:
    found = distfd.least_squares(
        lambda x: x - 3.0, np.zeros(2), method=method, executor="serial", limits=distfd.Limits(target=1.0)
    )
    assert (found.message, found.success) == ("the cost reached the target of 1", True)
