"""step="auto", accuracy, bisection, Gill, Richardson: right within their bars, inside the bounds, in budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import PROBLEMS
from solving import bits, rosenbrock, trigonometric

from distfd.core.describe import coordinate_label
from distfd.core.records import Batch, Status
from distfd.differentiation.accuracy import AccuracyUpgrade
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.gill_step import GillStep
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.probe_refinement import CAP
from distfd.differentiation.richardson import Richardson
from distfd.differentiation.shi_step import ShiStep
from distfd.differentiation.stencils import RICHARDSON, SCHEMES
from distfd.differentiation.steps import nominal_steps
from distfd.evaluation.tally import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method

    Floats = NDArray[np.float64]


def site(x: Any, bounds: Any = None, names: Any = None) -> BasePoint:
    x = np.array(x, dtype=float)
    low, high = (np.full(len(x), -np.inf), np.full(len(x), np.inf)) if bounds is None else np.array(bounds).T
    return BasePoint(x, low, high, coordinate_label(names))


def scale(x: Any) -> Floats:
    return np.asarray(np.maximum(1.0, np.abs(np.asarray(x, dtype=float))))


METHODS: dict[str, Callable[[BasePoint, bool], Method[Answer]]] = {
    "auto": lambda at, vector: AutoStep(at, scale(at.x), vector),
    "shi": lambda at, vector: ShiStep(at, scale(at.x), False, vector),
    "shi central": lambda at, vector: ShiStep(at, scale(at.x), True, vector),
    "gill": lambda at, vector: GillStep(at, scale(at.x), vector),
    "accurate": lambda at, vector: AccuracyUpgrade(at, scale(at.x), 1e-4, vector=vector),
    "accurate from default steps": lambda at, vector: AccuracyUpgrade(
        at, scale(at.x), 1e-4, nominal_steps(at.x, SCHEMES["forward"]), vector
    ),
    "richardson": lambda at, vector: Richardson(at, RICHARDSON, nominal_steps(at.x, RICHARDSON), scale(at.x), vector),
}


def solve(method: Method[Answer], fun: Callable[[Floats], Any], lost: Any = None) -> tuple[Answer, list[Wave]]:
    """Run a method; points for which ``lost`` is true have no value."""
    waves: list[Wave] = []
    while isinstance(step := method.advance(waves), Request):
        points = [step.points.dense(k) for k in range(len(step.points))]
        values = np.array([np.atleast_1d(fun(point)) for point in points], dtype=float)
        status = np.full(len(points), Status.OK, dtype=np.uint8)
        if lost is not None:
            gone = np.array([lost(point) for point in points])
            values[gone], status[gone] = np.nan, Status.CRASH
        waves.append(Wave(step, values, status))
    return step, waves


def evaluations(waves: list[Wave]) -> int:
    return sum(len(wave.values) for wave in waves)


def noisy(name: str, level: float, seed: int) -> tuple[Floats, Callable[[Floats], float]]:
    rng, problem = np.random.default_rng(seed), PROBLEMS[name]
    x = problem.x0 * (1 + 0.01 * rng.normal(size=problem.x0.shape))
    return x, lambda at: float(problem.value(at[None])[0] + level * rng.normal())


SOME = ["rosenbrock", "exponentials", "styblinski tang", "hartmann three", "log sum exp", "wood"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("auto", "accurate"))) for name in METHODS]
)
def test_components_are_inside_their_bars_and_bars_are_not_wide(name: str) -> None:
    errors, bars = [], []
    for k, function in enumerate(SOME):
        for level in (1e-8, 1e-4):
            for seed in range(4):
                x, fun = noisy(function, level, 100 * k + seed)
                answer, _ = solve(METHODS[name](site(x), False), fun)
                assert answer.error is not None
                errors.append(np.abs(answer.derivative - PROBLEMS[function].gradient(x)))
                bars.append(answer.error)
    error, bar = np.concatenate(errors), np.concatenate(bars)
    assert np.isfinite(bar).mean() > 0.98
    assert np.mean(error <= bar) > 0.92
    assert np.nanmedian(bar / error) < 7


@pytest.mark.parametrize(
    "function", ["rosenbrock", "extended rosenbrock", "many exponentials", "trigonometric", "sphere"]
)
@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-2])
def test_auto_keeps_to_its_budget(function: str, level: float) -> None:
    x, fun = noisy(function, level, 1)
    _, waves = solve(AutoStep(site(x), scale(x)), fun)
    assert evaluations(waves) <= 4 * len(x) + 40
    assert len(waves) <= 6
    assert [len(wave.values) for wave in waves[:2]] == [13, 2 * len(x)]


@pytest.mark.parametrize("function", SOME)
def test_auto_is_as_good_as_the_best_fixed_step(function: str) -> None:
    problem, level = PROBLEMS[function], 1e-5
    ours, fixed = [], []
    for seed in range(10):
        x, fun = noisy(function, level, seed)
        exact = problem.gradient(x)
        ours.append(np.abs(solve(AutoStep(site(x), scale(x)), fun)[0].derivative - exact))
        row = []
        for relative in CAP * 10.0 ** -np.arange(0, 5, 0.5):
            h = relative * scale(x)
            moves = np.diag(h)
            row.append(
                [abs((fun(x + e) - fun(x - e)) / 2 / size - g) for e, size, g in zip(moves, h, exact, strict=True)]
            )
        fixed.append(row)
    assert np.median(ours) <= 4 * np.median(np.array(fixed), axis=(0, 2)).min()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("vector", [False, True])
@given(st.lists(st.sampled_from(["free", "lower", "upper", "narrow", "fixed"]), min_size=1, max_size=3))
@settings(max_examples=10)
def test_points_are_inside_the_bounds(name: str, vector: bool, kinds: list[str]) -> None:
    x = np.linspace(0.5, 1.5, len(kinds))
    room = {"free": (9, 9), "lower": (0, 9), "upper": (9, 0), "narrow": (1e-5, 3e-5), "fixed": (0, 0)}
    bounds = [(v - room[k][0], v + room[k][1]) for v, k in zip(x, kinds, strict=True)]
    low, high = np.array(bounds).T

    def fun(at: Floats) -> Any:
        assert np.all((low <= at) & (at <= high))
        both = np.array([np.exp(at).sum(), (at**3).sum()])
        return both if vector else both[0]

    answer, _ = solve(METHODS[name](site(x, bounds), vector), fun)
    exact = np.where(low == high, 0, np.array([np.exp(x), 3 * x**2]))
    assert answer.error is not None
    found, bar = np.atleast_2d(answer.derivative), np.atleast_2d(answer.error)
    for row in range(len(found)):
        assert np.all(np.abs(found[row] - exact[row]) <= 1e-3 * np.abs(exact[row]))
    assert np.all(bar[:, low == high] == 0)
    assert answer.step[low == high].tolist() == [0] * int((low == high).sum())
    assert np.all(answer.step[low != high] != 0)
    assert answer.missing.tolist() == []


@pytest.mark.parametrize("name", METHODS)
def test_a_jacobian_has_a_bar_for_every_entry(name: str) -> None:
    x = np.array([0.5, -1.2, 2.0])
    answer, _ = solve(METHODS[name](site(x), True), trigonometric)
    stepped = np.array([trigonometric(x + 1e-30j * e).imag / 1e-30 for e in np.eye(3)]).T
    assert answer.derivative.shape == (3, 3)
    assert answer.error is not None
    assert np.all(np.abs(answer.derivative - stepped) <= np.maximum(3 * answer.error, 1e-9))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_pure_function_of_its_waves(name: str) -> None:
    x, fun = noisy("wood", 1e-6, 3)
    method = METHODS[name](site(x), False)
    answer, waves = solve(method, fun)
    again = METHODS[name](site(x.copy()), False)
    for k in range(len(waves)):
        asked = again.advance(waves[:k])
        assert isinstance(asked, Request)
        assert asked.points.values.tolist() == waves[k].request.points.values.tolist()
    same = again.advance(waves)
    assert isinstance(same, Answer)
    assert same.derivative.tolist() == answer.derivative.tolist()
    assert same.error is not None
    assert answer.error is not None
    assert same.error.tolist() == answer.error.tolist()


@pytest.mark.parametrize("name", ["auto", "shi", "shi central", "gill"])
def test_where_probes_fail_nearer_ones_are_tried(name: str) -> None:
    x = np.array([1.0, 2.0])
    rng = np.random.default_rng(0)

    def fun(at: Floats) -> float:
        return float(np.exp(at).sum() + 1e-4 * rng.normal())

    answer, _ = solve(METHODS[name](site(x), False), fun, lost=lambda at: abs(at[0] - 1.0) > 0.02)
    assert answer.missing.tolist() == []
    assert abs(answer.derivative[0] - np.exp(1.0)) < 0.1


def test_what_always_fails_is_missing() -> None:
    x = np.array([1.0, 2.0])
    answer, _ = solve(AutoStep(site(x), scale(x)), rosenbrock, lost=lambda at: at[1] == 2.0 and abs(at[0] - 1.0) > 0)
    assert answer.missing.tolist() == [0]
    assert np.isnan(answer.derivative[0])
    assert answer.error is not None
    assert np.isnan(answer.error[0])
    assert abs(answer.derivative[1] - 200.0) < 1e-4


def test_rounded_output_gets_a_gradient_and_bars_that_hold() -> None:
    x = np.array([1.0, 2.0, 0.5])
    answer, _ = solve(AutoStep(site(x), scale(x)), lambda at: float(f"{np.exp(at).sum():.6e}"))
    assert answer.error is not None
    assert np.all(np.abs(answer.derivative - np.exp(x)) <= answer.error)
    assert np.all(answer.error < 0.01)


def test_a_parameter_without_effect_is_named() -> None:
    x = np.array([1.0, 2.0])
    answer, _ = solve(AutoStep(site(x, names=["width", "colour"]), scale(x)), lambda at: float(np.exp(at[0])))
    assert answer.derivative[1] == 0
    (text,) = answer.warnings
    assert "did not change" in text
    assert "'colour'" in text
    assert "'width'" not in text


def test_lost_digits_are_named_where_a_fixed_step_is_too_small() -> None:
    from solving import method

    plan = method([1.0, 2.0, 3.0, 0.5])
    answer = plan.advance([solve(plan, lambda at: round(float(at @ at), 5))[1][0]])
    assert isinstance(answer, Answer)
    assert answer.derivative.tolist() == [0, 0, 0, 0]
    assert "few digits" in answer.warnings[0]


def test_noise_above_the_signal_is_named() -> None:
    rng = np.random.default_rng(1)
    x = np.array([1.0, 2.0])
    answer, _ = solve(
        AutoStep(site(x, names=["a", "b"]), scale(x)),
        lambda at: float(np.exp(at[0]) + 1e-9 * at[1] + 1e-4 * rng.normal()),
    )
    (text,) = answer.warnings
    assert text.startswith("noise above the signal")
    assert "'b'" in text
    assert "'a'" not in text


def test_a_kink_is_named_and_the_bar_holds_both_slopes_or_says_so() -> None:
    rng = np.random.default_rng(2)
    x = np.array([1.0, 2.0])
    answer, _ = solve(
        AutoStep(site(x, names=["a", "b"]), scale(x)),
        lambda at: float(np.exp(at[0]) + max(at[1] - 2.0, 0.0) + 1e-6 * rng.normal()),
    )
    assert any("kink" in text and "'b'" in text and "'a'" not in text for text in answer.warnings)


def test_accuracy_upgrades_only_what_needs_it() -> None:
    """Forward differences are wrong by 1 % here: good enough for a tenth, not for a thousandth."""
    rng = np.random.default_rng(3)
    x = np.linspace(1, 2, 12)

    def fun(at: Floats) -> float:
        return float(10 * at.sum() + 100 * ((at - x) ** 2).sum() + 1e-8 * rng.normal())

    h = np.full(12, 1e-3)
    loose, cheap = solve(AccuracyUpgrade(site(x), scale(x), 0.5, h), fun)
    tight, dear = solve(AccuracyUpgrade(site(x), scale(x), 1e-3, h), fun)
    assert evaluations(cheap) < evaluations(dear)
    assert np.sum(np.isclose(loose.step, 1e-3, rtol=1e-6)) == 9  # three are looked at in any case
    assert not np.isclose(tight.step, 1e-3, rtol=1e-6).any()
    for answer, within in ((loose, 5.0), (tight, 0.01)):
        assert answer.error is not None
        assert np.all(np.abs(answer.derivative - 10) <= answer.error)
        assert np.all(answer.error <= within)


def test_known_noise_takes_the_place_of_the_measured() -> None:
    x, fun = noisy("wood", 1e-4, 4)
    measured, _ = solve(AutoStep(site(x), scale(x)), fun)
    given, _ = solve(AutoStep(site(x), scale(x), noise=1e-4), fun)
    assert given.noise == 1e-4
    assert measured.noise is not None
    assert 2e-5 < measured.noise < 5e-4


@pytest.mark.parametrize("name", METHODS)
@given(st.integers(0, 2**31))
@settings(max_examples=5)
def test_any_order_of_completion_gives_the_same_bits(name: str, seed: int) -> None:
    x, fun = noisy("wood", 1e-6, 3)
    straight, seen = solve(METHODS[name](site(x), False), fun)
    method = METHODS[name](site(x), False)
    waves: list[Wave] = []
    rng = np.random.default_rng(seed)
    for wave in seen:
        request = method.advance(waves)
        assert isinstance(request, Request)
        waves.append(gather(request, one_by_one(wave.values[:, 0], rng.permutation(len(wave.values)))))
    answer = method.advance(waves)
    assert isinstance(answer, Answer)
    for ours, theirs in zip(
        (answer.derivative, answer.error, answer.step),
        (straight.derivative, straight.error, straight.step),
        strict=True,
    ):
        assert ours is not None
        assert theirs is not None
        assert bits(ours) == bits(theirs)


def one_by_one(values: Floats, order: NDArray[np.int64]) -> list[Batch]:
    """Finished evaluations, each by itself, in this order."""
    one, time = np.ones(1, dtype=np.int64), np.zeros(1)
    return [
        Batch(
            index=np.array([k]),
            status=np.array([Status.OK], dtype=np.uint8),
            size=one,
            flat=values[k : k + 1],
            started=time,
            ended=time,
            attempt=np.ones(1, dtype=np.int32),
            host="here",
            pid=1,
            slot=0,
        )
        for k in order.tolist()
    ]


def grainy(x: Floats) -> float:
    """Noise that is the same in every process, after a while that differs from point to point."""
    from time import sleep

    whole = float(np.sin(1e7 * x).sum())
    sleep(0.01 * abs(whole % 1.0))
    return float(np.exp(x).sum() + x[0] * x[1] + 1e-5 * whole)


@pytest.mark.nightly
def test_auto_has_the_same_bits_on_every_executor(private_ray: None) -> None:
    import distfd

    x = np.array([0.5, -1.2, 2.0, 0.1])
    wanted = distfd.differentiate(grainy, x, step="auto", executor="serial")
    for slots in (1, 2, 4):
        executor = distfd.RayExecutor(max_slots=slots)
        found = distfd.differentiate(grainy, x, step="auto", executor=executor)
        assert found.slots == slots
        assert bits(found.derivative) == bits(wanted.derivative)
        assert found.error is not None
        assert wanted.error is not None
        assert bits(found.error) == bits(wanted.error)
        assert bits(found.step) == bits(wanted.step)
        assert found.noise == wanted.noise
