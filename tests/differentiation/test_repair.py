"""on_failure="repair": what is asked for where J failed, and what is said of it."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solving import bits

import distfd
from distfd import events
from distfd.core.records import Failure, Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.placement import as_bounds
from distfd.errors import InputError
from distfd.evaluation.derivative_setting import Setting
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import DerivativeOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

X = np.array([1.0, 2.0, -3.0])
SLOPES = np.array([1.0, 2.0, 3.0]) * np.cos(X) + [X[1] * X[2], X[0] * X[2], X[0] * X[1]]
ORDERS = {"forward": 1, "backward": 1, "forward2": 2, "backward2": 2, "central": 2, "central4": 4, "richardson": 6}
SECOND = np.array([0.0, 1.0, 0.0])


def smooth(x: NDArray[Any]) -> Any:
    return np.sin(x) @ np.array([1.0, 2.0, 3.0]) + x[0] * x[1] * x[2]


def failing(where: Callable[[float], bool], k: int = 1) -> Callable[[Floats], float]:
    """A J that fails where coordinate k is moved by a distance that ``where`` picks."""

    def fun(x: Floats) -> float:
        if where(float(x[k] - X[k])):
            raise ValueError("negative width")
        return float(smooth(x))

    return fun


def repaired(fun: Any, x: Any = X, **options: Any) -> distfd.DerivativeResult:
    return distfd.differentiate(fun, x, **{"executor": "serial", "on_failure": "repair", **options})


# ---- the ladder


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("side", [1, -1])
def test_a_wall_on_one_side_costs_no_accuracy(scheme: Any, side: int) -> None:
    result = repaired(failing(lambda moved: side * moved > 0), scheme=scheme)
    whole = distfd.differentiate(smooth, X, executor="serial", scheme=scheme)
    assert result.missing.tolist() == []
    # One-sided formulas have a larger constant; a lower order would be worse by orders of magnitude.
    error = np.abs(result.derivative - SLOPES)
    assert error[1] < {1: 1e-6, 2: 1e-8, 4: 1e-10, 6: 1e-10}[ORDERS[scheme]]
    np.testing.assert_array_equal(bits(result.derivative[[0, 2]]), bits(whole.derivative[[0, 2]]))
    broken = scheme in ("central", "central4", "richardson") or (side > 0) == (scheme in ("forward", "forward2"))
    assert list(result.repaired) == ([1] if broken else [])
    if broken:
        assert "(error: ValueError: negative width); other points at full step" in result.repaired[1]
        # As at a bound: the step of a scheme that was mirrored is negative.
        assert ORDERS[scheme] > 2 or np.sign(result.step[1]) == (-side if scheme == "central" else -1)


@pytest.mark.parametrize("scheme", ["forward", "backward2", "central", "central4"])
def test_a_narrow_valley_halves_the_step(scheme: Any) -> None:
    whole = distfd.differentiate(smooth, X, executor="serial", scheme=scheme)
    room = abs(float(whole.step[1])) / 10
    result = repaired(failing(lambda moved: abs(moved) > room), scheme=scheme)
    assert result.missing.tolist() == []
    assert abs(result.step[1]) <= room
    assert abs(result.step[1]) > room / 4
    assert "the step halved " in result.repaired[1]
    assert abs(result.derivative[1] - SLOPES[1]) < {1: 1e-5, 2: 1e-8, 4: 1e-9}[ORDERS[scheme]]


def test_a_coordinate_without_any_value_is_missing_and_named_in_few_evaluations() -> None:
    names = ["mass", "width", "depth"]
    result = repaired(failing(bool), names=names, scheme="central")
    assert result.missing.tolist() == [1]
    assert result.repaired == {}
    assert np.isnan(result.derivative[1])
    np.testing.assert_allclose(result.derivative[[0, 2]], SLOPES[[0, 2]], rtol=1e-8)
    # x +- h, and two points for each of ten halvings: nothing else may have a value.
    assert result.n_failed == 2 + 2 * 10
    assert result.n_evaluations == 7 + 2 * 10


def test_what_is_left_makes_a_formula_of_lower_order() -> None:
    alone = -abs(float(distfd.differentiate(smooth, X, executor="serial", scheme="central").step[1]))
    result = repaired(failing(lambda moved: moved not in (0.0, alone)), scheme="central")
    assert result.missing.tolist() == []
    assert "a formula of order 1 in place of 2: J at x - h with h = " in result.repaired[1]
    assert result.derivative[1] == (smooth(X + alone * SECOND) - smooth(X)) / alone
    assert result.step[1] == alone


def test_all_coordinates_climb_in_the_same_requests() -> None:
    """Twenty broken ones take as many waves as one: their own, the other side, and each halving."""
    x = np.linspace(1.0, 2.0, 20)

    def waves(broken: NDArray[np.bool_]) -> list[int]:
        def fun(at: Floats) -> float:
            moved = np.abs(at - x)
            if (broken & (moved > 3e-9)).any():
                raise ValueError("too far")
            return float(at @ at)

        seen: list[events.Event] = []
        result = repaired(fun, x, observers=[seen.append])
        np.testing.assert_allclose(result.derivative, 2 * x, rtol=1e-5)
        assert sorted(result.repaired) == np.flatnonzero(broken).tolist()
        return [event.n_points for event in seen if isinstance(event, events.WaveStarted)]

    one = waves(np.arange(20) == 7)
    every = waves(np.ones(20, dtype=bool))
    assert one == [21, 1, *[2] * (len(one) - 2)]
    assert len(every) <= len(one) + 1
    assert every[:2] == [21, 20]
    assert waves(np.zeros(20, dtype=bool)) == [21]


@pytest.mark.parametrize(
    "options",
    [
        *({"scheme": scheme} for scheme in [*ORDERS, "complex-step"]),
        {"step": "auto"},
        {"accuracy": 1e-3},
        {"scheme": "central", "kind": "jacobian"},
    ],
)
def test_where_nothing_fails_nothing_is_different(options: dict[str, Any]) -> None:
    def result(on_failure: str) -> tuple[list[int], int, dict[int, str], int]:
        seen: list[events.Event] = []
        found = repaired(smooth, on_failure=on_failure, observers=[seen.append], **options)
        waves = sum(isinstance(event, events.WaveStarted) for event in seen)
        return bits(found.derivative), found.n_evaluations, dict(found.repaired), waves

    assert result("repair") == result("raise")


def test_a_jacobian() -> None:
    def fun(x: Floats) -> Any:
        moved = x[1] - X[1]
        if moved > 0:
            return np.array([1.0, math.nan, 2.0])
        if x[2] < X[2]:
            return np.ones(5)  # another number of outputs is a failure too
        return np.array([x @ x, x[0] * x[1], x[2]])

    result = repaired(fun, kind="jacobian", scheme="forward")
    np.testing.assert_allclose(result.derivative, np.array([2 * X, [X[1], X[0], 0], [0, 0, 1]]), atol=1e-6)
    assert list(result.repaired) == [1, 2]
    assert "J returned nan at output 1" in result.repaired[1]
    assert "J returned 5 outputs here and 3 at x" in result.repaired[2]


def test_a_number_of_outputs_that_never_fits_is_no_value() -> None:
    def fun(x: Floats) -> Any:
        return np.ones(2) if x[1] != X[1] else x

    result = repaired(fun, kind="jacobian")
    assert result.missing.tolist() == [1]
    np.testing.assert_allclose(result.derivative[:, [0, 2]], np.eye(3)[:, [0, 2]], atol=1e-7)


def test_what_takes_no_complex_x_is_differenced_along_real_ones() -> None:
    def fun(x: NDArray[Any]) -> Any:
        if np.iscomplexobj(x) and x[1].imag:
            raise TypeError("no complex width")
        return smooth(x)

    result = repaired(fun, scheme="complex-step")
    assert list(result.repaired) == [1]
    assert "J failed at x + 2.98e-08i (error: TypeError: no complex width); other points" in result.repaired[1]
    np.testing.assert_allclose(result.derivative[[0, 2]], SLOPES[[0, 2]], rtol=1e-14)
    np.testing.assert_allclose(result.derivative[1], SLOPES[1], rtol=1e-8)


@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-3}, {"scheme": "richardson"}])
def test_error_bars_are_not_invented(options: dict[str, Any]) -> None:
    def fun(x: Floats) -> float:
        return float(smooth(x)) if x[1] <= X[1] or np.count_nonzero(x != X) > 1 else math.inf

    result = repaired(fun, **options)
    assert list(result.repaired) == [1]
    assert result.error is not None
    assert np.isfinite(result.error[[0, 2]]).all()
    assert abs(result.derivative[1] - SLOPES[1]) < 1e-6
    if "scheme" in options:
        assert np.isnan(result.error[1])
    else:  # steps from the noise find one for the other side too, with its bar
        assert abs(result.derivative[1] - SLOPES[1]) <= result.error[1] < 1e-6


def test_a_difference_past_floating_point_is_not_repaired() -> None:
    def cliff(x: Floats) -> float:
        return 1e308 if x[0] > 0 else -1e308

    result = repaired(cliff, [0.0])
    assert result.missing.tolist() == [0]
    assert result.n_evaluations == 2


@pytest.mark.filterwarnings("ignore:J did not change:distfd.DerivativeWarning")
def test_a_repaired_coordinate_that_does_not_move_j_is_doubted() -> None:
    result = repaired(lambda x: math.nan if x[0] > 1 else 5.0, [1.0])
    assert result.derivative.tolist() == [0.0]
    assert any("coordinate 0" in text for text in result.warnings)


# ---- what always holds


def climbed(fun: Callable[[Floats], float], x: Floats, scheme: str, bounds: Any) -> tuple[Answer, list[Wave]]:
    """A repaired gradient without an executor; a J that raises has failed."""
    setting = Setting(BasePoint(x, *as_bounds(bounds, len(x))), DerivativeOptions(scheme), repair=True)
    plan, waves = make_method("gradient", setting), list[Wave]()
    while isinstance(asked := plan.advance(waves), Request):
        n = len(asked.points)
        values, status = np.full((n, 1), np.nan), np.full(n, Status.OK, dtype=np.uint8)
        failures = {}
        for k in range(n):
            try:
                values[k] = fun(asked.points.dense(k))
            except ValueError as error:
                status[k], failures[k] = Status.ERROR, Failure(Status.ERROR, str(error))
        waves.append(Wave(asked, values, status, failures))
    return asked, waves


reals = st.floats(-100, 100)
rooms = st.just(0.0) | st.floats(1e-12, 1e-3)


@given(
    x=reals,
    scheme=st.sampled_from([name for name in ORDERS if name != "richardson"]),
    room=st.tuples(rooms, rooms),
    hole=st.tuples(st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3)),
)
def test_bounds_are_kept_and_values_are_used_where_there_are_any(
    x: float, scheme: str, room: tuple[float, float], hole: tuple[float, float]
) -> None:
    """J is linear, so every formula is right up to rounding, and fails in an interval beside x."""
    lower, upper = x - room[0], x + room[1]

    def fun(at: Floats) -> float:
        assert lower <= at[0] <= upper
        if at[0] != x and min(hole) <= at[0] - x <= max(hole):
            raise ValueError("inside")
        return float(3 * at[0])

    if lower < upper:
        try:
            answer, waves = climbed(fun, np.array([x]), scheme, [(lower, upper)])
        except InputError:
            return  # bounds that leave no room are refused as ever
        assert len(waves) <= 12
        if len(answer.missing):
            assert not any((wave.status[wave.request.baseline is not None :] == Status.OK).any() for wave in waves)
        else:
            rounding = 40 * np.spacing(abs(3 * x)) / abs(answer.step[0])
            assert abs(answer.derivative[0] - 3) <= rounding + 1e-12
            failed = any((wave.status != Status.OK).any() for wave in waves)
            assert bool(answer.repaired) == failed


def test_text_that_swallows_small_steps_ends_the_halving() -> None:
    """J reads its x with three decimals."""

    def written(x: Floats, index: NDArray[np.int64], values: Floats) -> Floats:
        offsets = np.round(values, 3) - np.round(x[index, None], 3)
        if (offsets == 0).any():
            raise InputError("step: swallowed")
        return offsets

    x = np.array([1.0, 1.0])
    site = BasePoint(x, *as_bounds(None, 2), written=written)
    setting = Setting(site, DerivativeOptions("central", distfd.AbsoluteStep(0.0042)), repair=True)
    plan, waves, seen = make_method("gradient", setting), list[Wave](), []
    while isinstance(asked := plan.advance(waves), Request):
        at = [np.round(asked.points.dense(k), 3) for k in range(len(asked.points))]
        seen += [float(point[0]) for point in at]
        ok = np.array([abs(point[0] - 1) < 0.0015 for point in at])
        values = np.where(ok, [point @ point for point in at], np.nan)[:, None]
        status = np.where(ok, Status.OK, Status.ERROR).astype(np.uint8)
        waves.append(Wave(asked, values, status))
    assert sorted(set(seen)) == [0.996, 0.998, 0.999, 1.0, 1.001, 1.002, 1.004]
    assert list(asked.repaired) == [0]
    np.testing.assert_allclose(asked.derivative, [2.0, 2.0], rtol=1e-9)


# ---- sessions, retries and kinds


class Slow:
    """A simulator that has not quite come to rest when it stops, so that J depends a little on where it started."""

    def reset(self) -> None:
        self.state = 0.0

    def evaluate(self, x: Floats) -> float:
        if x[1] > X[1]:
            raise ValueError("negative width")
        for _ in range(20):
            self.state += 0.5 * (float(x @ x) - self.state)
        return self.state

    def snapshot(self) -> float:
        return self.state

    def restore(self, state: float) -> None:
        self.state = state


@pytest.mark.parametrize("warm", ["baseline", "iterate"])
def test_a_one_sided_repair_does_not_show_by_how_much_a_warm_start_has_moved_j(warm: str) -> None:
    """J(x) from rest and the points from its state differ by 1e-6 of J, a tenth of what the step changes."""
    result = repaired(Slow, scheme="central", warm=warm)
    assert list(result.repaired) == [1]
    np.testing.assert_allclose(result.derivative, 2 * X, rtol=1e-5)
    assert result.n_evaluations == 8 + (warm == "baseline")


class Noting:
    """A J that writes down each call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, x: Floats) -> float:
        with self.path.open("a") as file:
            file.write(x.tobytes().hex() + "\n")
        if x[1] > X[1]:
            raise ValueError("negative width")
        return float(smooth(x))


def test_a_new_session_repeats_only_what_failed(tmp_path: Path) -> None:
    fun = Noting(tmp_path / "calls")
    first = repaired(fun, store=tmp_path / "store.sqlite", scheme="central", version="1")
    calls = fun.path.read_text().split()
    assert len(calls) == len(set(calls)) == first.n_evaluations == 8
    again = repaired(fun, store=tmp_path / "store.sqlite", scheme="central", version="1")
    (failed,) = [one for one in first.evaluations if one.status is Status.ERROR]
    at = X.copy()
    at[1] = dict(failed.changes)[1].real
    assert fun.path.read_text().split()[8:] == [at.tobytes().hex()]
    assert (again.n_evaluations, again.n_reused) == (1, 7)
    assert bits(again.derivative) == bits(first.derivative)
    assert again.repaired == first.repaired


class Valley:
    """A J with values near x alone along one coordinate; it is interrupted at its n-th call."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.left = math.inf

    def __call__(self, x: Floats) -> float:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        if abs(x[1] - X[1]) > 2e-6:
            raise ValueError("too far")
        self.values.append(x.tobytes())
        return float(smooth(x))


def test_cut_off_anywhere_and_begun_again_it_is_the_same(tmp_path: Path) -> None:
    fun = Valley()
    whole = repaired(fun, scheme="central")
    assert "the step halved" in whole.repaired[1]
    for calls in range(whole.n_evaluations):
        fun.values, fun.left = [], calls
        options: dict[str, Any] = {"scheme": "central", "store": tmp_path / f"{calls}.sqlite", "version": "1"}
        with pytest.raises(KeyboardInterrupt):
            repaired(fun, **options)
        fun.left = math.inf
        result = repaired(fun, **options)
        assert bits(result.derivative) == bits(whole.derivative)
        assert result.repaired == whole.repaired
        # A chunk that was being evaluated is evaluated again; what was committed is not.
        assert len(set(fun.values)) == whole.n_evaluations - whole.n_failed
        assert result.n_reused + result.n_evaluations == whole.n_evaluations


def test_what_is_tried_again_with_success_is_no_repair() -> None:
    tries = []

    def fun(x: Floats) -> float:
        if x[1] != X[1]:
            tries.append(1)
            if len(tries) == 1:
                raise OSError("no licence")
        return float(smooth(x))

    result = repaired(fun, retries=1)
    assert (result.n_retried, result.repaired) == (1, {})
    assert bits(result.derivative) == bits(distfd.gradient(smooth, X, executor="serial"))


@pytest.mark.parametrize(
    "particulars",
    [
        {"kind": "hessian"},
        {"kind": "hvp", "v": X},
        {"kind": "jvp", "v": X},
        {"kind": "directional", "directions": [X]},
        {"kind": "jacobian", "sparsity": np.ones((1, 3))},
        {"kind": "jacobian", "sparsity": "probe"},
    ],
)
def test_kinds_whose_points_serve_several_components_are_refused_before_anything_runs(particulars: Any) -> None:
    def fun(x: Floats) -> float:
        raise AssertionError("evaluated")

    with pytest.raises(InputError, match="on_failure: repair is only for gradients and dense Jacobians"):
        repaired(fun, **particulars)


def test_a_failed_baseline_is_an_error() -> None:
    calls = []

    def fun(x: Floats) -> float:
        calls.append(1)
        raise ArithmeticError("no solution")

    with pytest.raises(distfd.EvaluationError, match=r"x itself \(the baseline\)"):
        repaired(fun)
    assert len(calls) == 1


def test_a_minimum_is_found_beside_a_wall() -> None:
    def fun(x: Floats) -> float:
        if x[1] > 0.5 + 1e-7:
            raise ValueError("mesh failure")
        return float((x[0] - 1) ** 2 + (x[1] - 0.5) ** 2)

    found = distfd.minimize(fun, [3.0, 0.5], executor="serial", on_failure="repair", scheme="central")
    np.testing.assert_allclose(found.x, [1.0, 0.5], atol=1e-4)
    assert 1 in found.derivative.repaired


@pytest.mark.slow
def test_a_crash_is_tried_again_first_and_named(private_ray: None) -> None:
    def fun(x: Floats) -> float:
        if x[1] > 2.0:
            os._exit(7)
        return float(x @ x)

    options: dict[str, Any] = {"executor": distfd.RayExecutor(max_slots=2), "retries": {"crash": 1}}
    result = repaired(fun, **options)
    assert "(crash: the worker process died" in result.repaired[1]
    assert (result.n_failed, result.n_retried) == (1, 1)
    np.testing.assert_allclose(result.derivative, 2 * X, rtol=1e-6)


STEEP = {
    "exp(3 x0) + x1": (lambda x: math.exp(3 * x[0]) + x[1], [1.0, 2.0], [3 * math.exp(3), 1.0]),
    "the other side": (lambda x: math.exp(-3 * x[0]) + x[1] ** 2, [-1.0, 2.0], [-3 * math.exp(3), 4.0]),
    "one coordinate": (lambda x: math.sin(20 * x[0]), [1.0], [20 * math.cos(20)]),
    "three, one straight": (lambda x: math.exp(5 * x[0]) + x[1] * x[2], [1.0, 2, 3], [5 * math.exp(5), 3, 2]),
}


@pytest.mark.parametrize(("fun", "x", "exact"), STEEP.values(), ids=STEEP)
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    "options",
    [
        {"step": "auto"},
        {"accuracy": 1e-4},
        {"step": distfd.NoiseStep("shi")},
        {"step": distfd.NoiseStep("gill")},
        {"step": distfd.NoiseStep(noise=1e-14)},
        {"scheme": "richardson"},
        {"scheme": "central"},
        {"scheme": "central4"},
        {},
    ],
)
def test_a_repaired_component_is_as_accurate_as_its_scheme_allows(
    options: dict[str, Any], side: int, fun: Any, x: list[float], exact: list[float]
) -> None:
    """Where J ends at x0, the steps of the others, or of what failed, are not those that the other side needs."""

    def ends(at: Floats) -> float:
        return math.nan if side * (at[0] - x[0]) > 0 else float(fun(at))

    found = distfd.differentiate(ends, x, on_failure="repair", executor="serial", **options)
    assert found.missing.tolist() == []
    first_order = not options or options.get("step") in (distfd.NoiseStep("shi"), distfd.NoiseStep("gill"))
    np.testing.assert_allclose(found.derivative, exact, rtol=1e-2 if first_order else 1e-6)
    assert found.derivative[0] == pytest.approx(exact[0], rel=1e-6), "the repaired one, by second order"
    if options.get("step") == "auto":
        assert np.all(np.abs(found.derivative - exact) <= found.error + 1e-12)
        assert found.n_evaluations <= 4 * len(x) + 38


@pytest.mark.parametrize("d", [1, 2, 4])
def test_repairs_under_auto_cost_no_more_than_auto_ever_does(d: int) -> None:
    x = np.linspace(0.5, 1.5, d)

    def nowhere(at: Floats) -> float:
        return math.nan if at[0] != x[0] else float(np.exp(at).sum())

    with pytest.warns(distfd.DerivativeWarning, match=f"repair of coordinate 0 was cut short.*takes {4 * d + 38} eval"):
        found = distfd.differentiate(nowhere, x, step="auto", on_failure="repair", executor="serial")
    assert found.missing.tolist() == [0]
    assert found.n_evaluations <= 4 * d + 38


def test_what_a_budget_leaves_unrepaired_is_repaired_with_a_step_as_the_warning_says() -> None:
    x = np.linspace(0.5, 1.5, 6)

    def island(at: Floats) -> float:
        return math.nan if np.abs(at - x).max() > 2e-7 else float(np.exp(at).sum())

    options: dict[str, Any] = {"on_failure": "repair", "executor": "serial"}
    with pytest.warns(distfd.DerivativeWarning, match="was cut short") as told:
        found = distfd.differentiate(island, x, step="auto", **options)
    assert found.missing.tolist()
    assert any("(step=1e-4, say)" in str(one.message) for one in told)
    found = distfd.differentiate(island, x, step=1e-4, **options)
    assert found.missing.tolist() == []
    np.testing.assert_allclose(found.derivative, np.exp(x), rtol=1e-6)


@pytest.mark.parametrize("side", [1, -1])
def test_evaluations_are_kept_for_the_repair_of_every_coordinate_that_ends_at_x(side: int) -> None:
    """Of ten such coordinates once three were repaired: pairs nearer to x, on both sides, had used up the rest."""
    x = np.linspace(0.5, 1.5, 10)

    def wall(at: Floats) -> float:
        return math.nan if (side * (at - x) > 0).any() else float(np.exp(at).sum())

    found = distfd.differentiate(wall, x, step="auto", on_failure="repair", executor="serial")
    assert found.missing.tolist() == []
    assert found.n_evaluations <= 4 * 10 + 38
    np.testing.assert_allclose(found.derivative, np.exp(x), rtol=1e-6)


def test_a_repair_of_a_tiny_coordinate_is_at_the_scale_that_was_found_for_it() -> None:
    """Its probes once went out at the default scale of 1, and gave -1.8e5 with a bar of 0.8."""

    def saturation(x: Any) -> float:
        return math.nan if x[0] > 1e-8 else float(x[0] / (x[0] + 1e-8) + x[1])

    found = distfd.differentiate(saturation, [1e-8, 1.0], step="auto", on_failure="repair", executor="serial")
    np.testing.assert_allclose(found.derivative, [2.5e7, 1.0], rtol=1e-6)
    assert found.error is not None
    assert (np.abs(found.derivative - [2.5e7, 1.0]) <= found.error + 1e-8).all()
