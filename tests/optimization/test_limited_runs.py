"""No limited, failing or interrupted run gives a point worse than one that it knows; iterates are accepted points."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from limited_runs import make_case, run_case
from scipy.optimize import rosen

import distfd
from distfd.executors.serial import SerialExecutor
from distfd.optimization.journal import Diverged, Journal
from distfd.optimization.lbfgs_evaluation import Rounds

if TYPE_CHECKING:
    from pathlib import Path

X0 = [-1.2, 1.0]
UNBOUNDED = ("BFGS", "CG", "Newton-CG", "trust-ncg", "trust-krylov", "dogleg", "trust-exact")


@pytest.mark.parametrize("seed", range(40))
def test_random_runs(seed: int, tmp_path: Path) -> None:
    run_case(make_case(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [pytest.param(block, marks=[] if block < 1 else [pytest.mark.nightly]) for block in range(10)]
)
def test_more_random_runs(block: int, tmp_path: Path) -> None:
    for seed in range(1000 + 30 * block, 1030 + 30 * block):
        run_case(make_case(seed), tmp_path)


def test_points_without_a_value_leave_the_order_of_a_round_alone() -> None:
    """Sorting by values that hold NaN put a worse point first, at which a limit then stopped."""

    class Wide(SerialExecutor):
        slots = 12

    def fun(x: Any) -> float:
        return np.nan if x[0] > 0.5 else float((np.asarray(x) ** 2).sum())

    gradients: Any = None
    limits = distfd.Limits(max_evaluations=1)
    seen: list[float] = []
    with distfd.Evaluator(fun, executor=Wide(), check=False) as ev:
        from distfd.optimization.history import Record
        from distfd.optimization.limits import Stop
        from distfd.optimization.optimization_run import OptimizationRun
        from distfd.optimization.plain_gradients import PlainGradients

        course = OptimizationRun(ev, Record(limits), Journal())
        course.record.improved = lambda one: seen.append(one.value)
        gradients = PlainGradients(ev)
        points = [np.array([a, 0.0]) for a in (-3.0, 1.0, -2.0, 2.0, -1.0, 3.0)]
        with pytest.raises(Stop, match="max_evaluations"):
            Rounds(course).evaluate([(x, True) for x in points], gradients)
    assert seen == [1.0]
    assert course.record.n_gradients == 3, "all points are seen before a limit stops it"


def steep(x: Any) -> float:
    """J of which SLSQP's first trials are far too long."""
    return float(np.sum(np.asarray(x) ** 4) * 1e4 + np.sum(np.cosh(np.asarray(x))))


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_max_iterations_of_slsqp_are_as_many_accepted_points(limit: int, tmp_path: Path) -> None:
    told: list[list[float]] = []
    result = distfd.minimize(
        rosen,
        X0,
        method="SLSQP",
        executor="serial",
        limits=distfd.Limits(max_iterations=limit),
        callback=lambda x: told.append(x.tolist()),
        journal=tmp_path / "j",
    )
    assert len(told) == result.nit == limit
    assert len(result.history) == limit + 1
    assert result.x.tolist() == told[-1]
    values = [row.value for row in result.history]
    assert values == sorted(values, reverse=True), "rejected trials of the line search are none"


def test_slsqp_tells_of_no_rejected_trial() -> None:
    told: list[float] = []
    result = distfd.minimize(
        steep, [3.0, -2.0], method="SLSQP", executor="serial", callback=lambda x: told.append(steep(x))
    )
    assert result.success
    assert told == sorted(told, reverse=True)
    assert max(told) < steep([3.0, -2.0])


@pytest.mark.parametrize("method", ["trust-constr", "trust-krylov", "trust-ncg", "trust-exact", "Newton-CG", "BFGS"])
def test_rows_of_a_history_have_their_own_j(method: Any) -> None:
    told: list[np.ndarray[Any, Any]] = []
    options = {"maxiter": 30}
    result = distfd.minimize(
        rosen, X0, method=method, executor="serial", options=options, callback=lambda x: told.append(np.array(x))
    )
    assert [row.value for row in result.history[1:]] == [rosen(x) for x in told]
    assert len({x.tobytes() for x in told}) == len(told), "a refused step is no iterate"


def test_what_is_recorded_is_ordered_feasible_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "a")
    journal.start(np.zeros(1))
    for x, value, violation in ((1.0, 5.0, 0.0), (2.0, -9.0, 1.0), (3.0, 4.0, 1e-9), (4.0, 6.0, 0.0)):
        journal.iterate(np.array([x]), value, violation)
    again = Journal(tmp_path / "j", "a")
    again.start(np.zeros(1))
    with pytest.raises(Diverged) as caught:
        again.iterate(np.array([9.0]), 0.0)
    assert caught.value.x.tolist() == [3.0]
    assert caught.value.rank == (0.0, 4.0)


def test_journals_of_before_that_hold_refused_steps_are_replayed(tmp_path: Path) -> None:
    lines = [
        {"about": "a", "start": [0.0]},
        {"iterate": 1, "value": 5.0, "x": [0.0]},
        {"iterate": 2, "value": 4.0, "x": [1.0]},
        {"iterate": 3, "value": 4.0, "x": [1.0]},
        {"iterate": 4, "value": 3.0, "x": [2.0]},
    ]
    (tmp_path / "j").write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = Journal(tmp_path / "j", "a")
    journal.start(np.zeros(1))
    journal.iterate(np.array([1.0]), 4.0)
    journal.iterate(np.array([2.0]), 3.0)
    journal.iterate(np.array([9.0]), 2.0)  # new: none is left to compare it with
    assert [value for _, value in journal.iterates] == [4.0, 3.0, 2.0]


def test_after_a_divergence_the_value_before_is_that_of_x0(tmp_path: Path) -> None:
    def run(tilt: float, n: int) -> Any:
        return distfd.minimize(
            lambda x: float(rosen(x)) + tilt * x[0],
            X0,
            executor="serial",
            journal=tmp_path / "j",
            limits=distfd.Limits(max_iterations=n),
        )

    assert run(0.0, 5).value0 == rosen(X0)
    with pytest.warns(distfd.DerivativeWarning, match="goes on from the best that is known"):
        assert run(0.1, 2).value0 == rosen(X0) - 0.12
    again = run(0.1, 2)
    assert again.value0 == rosen(X0) - 0.12, "a session later it is still J at x0"
    assert again.first.value < again.value0


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "model"])
def test_a_fit_with_a_fixed_parameter(method: Any) -> None:
    t = np.linspace(0, 1, 12)

    def residuals(x: Any) -> Any:
        return x[0] * np.exp(-x[1] * t) + x[2] - (2 * np.exp(-1.5 * t) + 0.5)

    result = distfd.least_squares(
        residuals,
        [1.0, 1.0, 0.5],
        method=method,
        bounds=([-np.inf, -np.inf, 0.5], [np.inf, np.inf, 0.5]),
        x_scale=np.array([1.0, 2.0, 1.0]) if method != "model" else 1.0,
        executor="serial",
    )
    assert result.success
    assert result.x == pytest.approx([2.0, 1.5, 0.5], abs=1e-5)
    assert result.x[2] == 0.5
    assert result.jac.shape == (12, 3)
    assert not result.jac[:, 2].any()


@pytest.mark.parametrize("method", UNBOUNDED)
def test_methods_without_bounds_take_fixed_variables(method: Any) -> None:
    def fun(x: Any) -> float:
        return float((x[0] - 1) ** 2 + 0.1 * (x[2] + 2) ** 4 + (x[2] + 2) ** 2 + x[1] * x[0] ** 2)

    bounds = [(None, None), (3.0, 3.0), (None, None)]
    result = distfd.minimize(fun, [2.0, 3.0, 0.0], method=method, bounds=bounds, executor="serial")
    assert result.x == pytest.approx([0.25, 3.0, -2.0], abs=1e-4)
    assert result.x[1] == 3.0
    assert result.jac[1] == 0.0
    with pytest.raises(distfd.InputError, match="cannot handle bounds"):
        distfd.minimize(fun, [2.0, 3.0, 0.0], method=method, bounds=[(0, 9), *bounds[1:]], executor="serial")


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_methods_with_bounds_take_fixed_variables(method: Any) -> None:
    def fun(x: Any) -> float:
        return float((x[0] - 1) ** 2 + (x[2] + 2) ** 2 + x[1] * x[0] ** 2)

    bounds = [(0, 9), (3.0, 3.0), (None, None)]
    result = distfd.minimize(fun, [2.0, 3.0, 0.0], method=method, bounds=bounds, executor="serial")
    assert result.x == pytest.approx([0.25, 3.0, -2.0], abs=1e-3)
    assert result.x[1] == 3.0


@pytest.mark.parametrize("step", [None, "auto"])
def test_a_gradient_at_x0_without_a_component_is_said(step: Any) -> None:
    def fun(x: Any) -> float:
        return np.nan if x[1] != 2.0 else float(x[0] ** 2)

    with pytest.raises(distfd.EvaluationError, match=r"at x0|x1"):
        distfd.minimize(fun, [1.0, 2.0], method="L-BFGS", executor="serial", on_failure="nan", step=step)


def test_a_point_of_which_nothing_is_remembered_is_no_iterate() -> None:
    """trust-constr stood where J had failed and tried more points from there than are remembered: J was NaN then."""
    from distfd.optimization.history import Record
    from distfd.optimization.scipy_minimize import Scalar
    from distfd.optimization.speculation import Speculation

    def fun(x: Any) -> float:
        return np.nan if x[0] > 1 else float(x[0] ** 2)

    with distfd.Evaluator(fun, executor="serial", check=False) as ev:
        problem = Scalar(ev, Record(), Speculation(False))
        problem.gradient(np.array([0.5]))
        assert problem.known(np.array([0.5])) == (0.25, 0.0)
        for k in range(150):
            problem.value(np.array([2.0 + k]))
        assert problem.known(np.array([2.0])) is None
        problem.close()


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B"])
def test_ctrl_c_keeps_the_points_before_it(method: Any) -> None:
    """The points of a chunk that Ctrl-C cut short were lost, and a worse point was the best."""
    seen: list[Any] = []

    def fun(x: Any) -> float:
        seen.append(np.array(x))
        if len(seen) == 30:
            raise KeyboardInterrupt
        return float(rosen(x))

    class Wide(SerialExecutor):
        slots = 20

    result = distfd.minimize(fun, X0, method=method, executor=Wide(), check=False, step=distfd.AbsoluteStep(2.0**-20))
    assert result.status == 130
    there = {x.tobytes() for x in seen[:-1]}
    whole = [x for x in seen[:-1] if all((x + 2.0**-20 * row).tobytes() in there for row in np.eye(2))]
    assert result.fun == min(rosen(x) for x in whole)
