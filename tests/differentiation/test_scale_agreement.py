"""A J that has one slope near x and another farther off: `step="auto"` says so, and its bars hold both."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import PROBLEMS

import distfd
from distfd.core.describe import coordinate_label
from distfd.core.records import Status
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.noise import known_noise
from distfd.differentiation.scale_agreement import Line, disagreement

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

W = np.array([1.0, 0.8, -0.6])
X = np.array([1.5232242684986328, 1.5969822868282466, 2.6284514811885606])
RIPPLES: dict[str, Callable[[Floats], float]] = {
    "sawtooth": lambda x: float((x**2).sum() + 1e-4 * ((1000 * (x @ W)) % 1)),
    "sine": lambda x: float((x**2).sum() + 1e-4 * math.sin(2000 * float(x @ W))),
}


def auto(fun: Callable[[Floats], float], x: Floats, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Answer:
    at = BasePoint(x, np.full(len(x), bounds[0]), np.full(len(x), bounds[1]), coordinate_label(None))
    method, waves = AutoStep(at, np.maximum(1.0, np.abs(x))), list[Wave]()
    while isinstance(step := method.advance(waves), Request):
        values = np.array([[fun(step.points.dense(k))] for k in range(len(step.points))])
        waves.append(Wave(step, values, np.full(len(values), Status.OK, dtype=np.uint8)))
    return step


def told(answer: Answer) -> bool:
    return any("J looks different at two scales" in text for text in answer.warnings)


@pytest.mark.parametrize("name", list(RIPPLES))
def test_bars_hold_the_slope_near_by_and_the_one_far_off(name: str) -> None:
    answer = auto(RIPPLES[name], X)
    ripple = 0.1 * W if name == "sawtooth" else 0.2 * math.cos(2000 * float(X @ W)) * W
    assert told(answer)
    assert answer.error is not None
    assert (np.abs(answer.derivative - 2 * X) <= answer.error).all()
    assert (np.abs(answer.derivative - 2 * X - ripple) <= answer.error).all()
    assert answer.error.max() < 1.0


@pytest.mark.parametrize(("name", "most"), [("sawtooth", 3), ("sine", 17)])
def test_few_of_200_rippled_points_are_off_by_ten_bars_in_silence(name: str, most: int) -> None:
    # 37 and 58 without the lines' slopes.
    rng, silent = np.random.default_rng(1), 0
    for _ in range(200):
        x = rng.uniform(-3, 3, 3)
        answer = auto(RIPPLES[name], x)
        assert answer.error is not None
        silent += bool((np.abs(answer.derivative - 2 * x) > 10 * answer.error).any() and not told(answer))
    assert silent <= most


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-4])
@pytest.mark.parametrize("name", list(PROBLEMS)[:20])
def test_smooth_functions_look_alike_at_both_scales(name: str, noise: float) -> None:
    problem, rng = PROBLEMS[name], np.random.default_rng(4)
    answer = auto(lambda x: float(problem.value(x[None])[0] + noise * rng.normal()), problem.x0)
    assert not told(answer)


def test_at_a_bound_lines_that_are_shortened_say_no_more_than_is_there() -> None:
    assert not told(auto(lambda x: float(np.exp(x).sum()), np.ones(3), (1.0 - 1e-4, 1.0 + 1e-4)))
    assert not told(auto(lambda x: float(np.exp(x).sum()), np.ones(3), (1.0, 9.0)))


def test_the_slope_of_a_line_is_exact_for_a_polynomial() -> None:
    i = np.arange(7.0)
    line = Line(0.1, np.array([0]), np.array([0.1]), (3 * (0.1 * i) ** 2 - 2 * (0.1 * i) + 5)[:, None])
    along, doubt = line.slope(known_noise(0.0))
    np.testing.assert_allclose(along, [-0.2], rtol=1e-10)
    assert doubt[0] < 1e-10
    rows, bar = np.array([0]), np.array([[1e-8]])
    assert disagreement([line], known_noise(0.0), rows, np.array([[-2.0]]), bar) is None
    found = disagreement([line], known_noise(0.0), rows, np.array([[-1.0]]), bar)
    assert found is not None
    # 0.1 of change in 0.1 of x: slopes of -2 and -1, and the bar is twice what is between them.
    np.testing.assert_allclose(found.gap, [0.1], rtol=1e-8)
    np.testing.assert_allclose(found.widening(rows), [[2.0]], rtol=1e-8)


def test_a_line_along_which_j_has_no_value_says_nothing() -> None:
    line = Line(0.1, np.array([0]), np.array([0.1]), np.full((7, 1), np.nan))
    assert disagreement([line], known_noise(0.0), np.array([0]), np.ones((1, 1)), np.ones((1, 1))) is None


def test_a_kink_is_told_as_such_and_the_other_bars_stay_narrow() -> None:
    rng = np.random.default_rng(2)
    answer = auto(lambda x: float(np.exp(x[0]) + np.abs(x[1] - 3.0) + 1e-8 * rng.normal()), np.array([1.0, 3.0]))
    assert not told(answer)
    assert any("kink" in text for text in answer.warnings)
    assert answer.error is not None
    assert abs(answer.derivative[0] - math.e) <= answer.error[0] < 1e-4


@pytest.mark.parametrize(("name", "most"), [("sawtooth", 0), ("sine", 7)])
def test_a_kink_along_one_coordinate_does_not_hide_ripples_along_the_others(name: str, most: int) -> None:
    # 7 and 13 where the whole answer was not looked at for the kink's sake.
    rng, silent, kinks = np.random.default_rng(1), 0, 0
    for _ in range(60):
        x = rng.uniform(-3, 3, 4)
        answer = auto(lambda at, x=x: RIPPLES[name](at[:3]) + 1e-3 * abs(at[3] - x[3]), x)  # type: ignore[misc]
        assert answer.error is not None
        off = np.abs(answer.derivative - 2 * x)[:3] > 10 * answer.error[:3]
        silent += bool(off.any() and not told(answer))
        kinks += any("kink" in text for text in answer.warnings)
    assert silent <= most
    assert kinks >= 7


@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("kink", ["each", "all together", "the largest"])
def test_kinks_alone_are_not_two_scales(kink: str, slope: float) -> None:
    x = np.array([1.0, -2.0, 0.5, 3.0])
    kinds: dict[str, Callable[[Floats], float]] = {
        "each": lambda at: float(np.abs(at - x).sum()),
        "all together": lambda at: abs(float((at - x) @ [1.0, -2.0, 0.5, 3.0])),
        "the largest": lambda at: float(np.max(at - x)),
    }
    answer = auto(lambda at: float(np.exp(0.3 * at).sum()) + slope * kinds[kink](at), x)
    assert not told(answer)
    assert any("kink" in text for text in answer.warnings)


FAST: list[Any] = [
    lambda x: np.sin(1e9 * x),
    lambda x: np.sin(1e6 * x),
    lambda x: np.sin(1e7 * x + 1),
    lambda x: 50 + x**2 + 0.5 * np.sin(1e8 * x + 0.3),
]


@pytest.mark.parametrize("kind", ["gradient", "jacobian"])
@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fun", FAST)
def test_a_j_that_is_faster_than_all_steps_is_told_of(fun: Any, x: float, kind: Any) -> None:
    def outputs(at: Any) -> Any:
        return np.array([at[0], fun(at[0])]) if kind == "jacobian" else float(fun(at[0]))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        found = distfd.differentiate(outputs, [x], kind=kind, step="auto", executor="serial")
    assert any("not resolved" in text or "noise above" in text for text in found.warnings)


@pytest.mark.parametrize("fun", [np.sin, np.tanh])
def test_the_scale_that_the_word_asks_for_gives_the_derivative(fun: Any) -> None:
    with pytest.warns(distfd.DerivativeWarning, match="give it as `scale`"):
        distfd.gradient(lambda x: float(fun(1e9 * x[0])), [0.0], step="auto", executor="serial")
    found = distfd.differentiate(lambda x: float(fun(1e9 * x[0])), [0.0], step="auto", scale=1e-9, executor="serial")
    assert found.derivative == pytest.approx([1e9], rel=1e-6)
    assert not found.warnings


@pytest.mark.parametrize("size", [0.0, 1e-10, 1e-6, 1e-4])
def test_noise_below_the_slope_is_not_called_unresolved(size: float) -> None:
    rng = np.random.default_rng(3)
    for x in rng.normal(size=(10, 3)):
        found = distfd.differentiate(
            lambda at: float(np.sum(np.sinh(at) + at**2) + size * rng.normal()), x, step="auto", executor="serial"
        )
        assert not any("not resolved" in text for text in found.warnings)


@pytest.mark.parametrize(("frequency", "size"), [(20.0, 1.0), (20.0, 0.1), (7.0, 3.0)])
def test_waves_that_are_noise_to_the_long_line_are_seen_by_the_short_one(frequency: float, size: float) -> None:
    """HUMPS of S2MPJ, far from its minimum: the steps pass over many waves, which were taken for noise."""

    def humps(x: Floats) -> float:
        return float(size * np.prod(np.sin(frequency * x)) ** 2 + 0.05 * (x @ x))

    rng = np.random.default_rng(7)
    for x in 500.0 + 30.0 * rng.random((20, 2)):
        answer = auto(humps, x)
        sines, cosines = np.sin(frequency * x), np.cos(frequency * x)
        exact = 0.1 * x + 2 * size * frequency * np.prod(sines) * cosines * sines[::-1]
        assert answer.error is not None
        off = np.abs(answer.derivative - exact)
        assert told(answer) or (off <= np.maximum(answer.error, 0.1 * np.abs(exact))).all()


def wavy(x: Floats, waves: float, noise: float) -> float:
    """A bowl with waves of length 0.3, and noise that is the same whenever x is."""
    rng = np.random.default_rng(np.frombuffer(np.asarray(x).tobytes(), np.uint32))
    bowl = float((x**2).sum())
    return bowl + waves * float(np.sin(x / 0.05).sum()) + noise * bowl * rng.normal()


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("noise", [1e-8, 1e-6])
def test_waves_between_the_lines_are_seen_by_a_check_that_was_asked_for(noise: float) -> None:
    """Noise hides them from the near line, and they look like noise to the far line and over the derivative's steps."""
    told = {0.0: 0, 2.0: 0}
    for waves in told:
        for seed in range(20):
            x = 100 + np.random.default_rng(seed).uniform(-5, 5, 3)
            result = distfd.differentiate(
                lambda x, waves=waves: wavy(x, waves, noise), x, step="auto", check=True, executor="serial"
            )
            assert result.consistency is not None
            seen = "far shorter than the derivative's" in result.consistency.cause
            told[waves] += seen and any("set a step, or `scale`" in text for text in result.warnings)
            if seen:
                smaller = distfd.gradient(lambda x, waves=waves: wavy(x, waves, 0), x, step=1e-4, executor="serial")
                assert np.abs(result.derivative - smaller).max() > 0.03 * np.abs(smaller).max(), "there is such a slope"
    assert told[0.0] == 0
    assert told[2.0] >= 16


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_outliers_of_noise_are_no_waves() -> None:
    """One value that is far off changes the slope of its pair, and bends the line through it by four times as much."""

    def fun(x: Floats) -> float:
        rng = np.random.default_rng(np.frombuffer(np.asarray(x).tobytes(), np.uint32))
        return float((x**2).sum() * (1 + 1e-7 * rng.normal() * (30 if rng.random() < 0.03 else 1)))

    seen = 0
    for seed in range(100):
        x = 100 + np.random.default_rng(seed).uniform(-5, 5, 3)
        result = distfd.differentiate(fun, x, step="auto", check=True, executor="serial")
        assert result.consistency is not None
        seen += "far shorter than the derivative's" in result.consistency.cause
    assert seen <= 5


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_waves_that_steps_are_too_short_for_are_seen_by_a_check_that_was_asked_for() -> None:
    """The near line and the steps see the waves' slope alone, and the far line's points are too few for any slope."""
    longer, told = {0.0: 0, 1e-3: 0}, {0.0: 0, 1e-3: 0}
    for waves in told:
        for seed in range(20):
            rng = np.random.default_rng(seed)
            x, way = rng.uniform(0.5, 1.5, 10), rng.normal(size=10)
            way *= 1.4 / np.linalg.norm(way)

            def fun(at: Floats, waves: float = waves, way: Floats = way) -> float:
                return float(8 + np.cos(at[1:] - at[:-1] ** 2 / 2).sum() + waves * np.sin(2000 * way @ at))

            result = distfd.differentiate(fun, x, step="auto", check=True, executor="serial")
            assert result.consistency is not None
            seen = "far longer than the derivative's" in result.consistency.cause
            assert not seen or result.consistency.coordinates == (), "J's curvature would name the wrong ones"
            longer[waves] += seen
            told[waves] += bool(result.warnings)
    assert (longer[0.0], told[0.0]) == (0, 0)
    assert longer[1e-3] >= 2
    assert told[1e-3] >= 16


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_smooth_functions_have_no_other_slope_over_longer_steps(name: str) -> None:
    problem = PROBLEMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = distfd.differentiate(
            lambda x: float(problem.value(np.asarray(x)[None])[0]),
            problem.x0,
            step="auto",
            check=True,
            executor="serial",
        )
    assert result.consistency is not None
    assert "far longer" not in result.consistency.cause
