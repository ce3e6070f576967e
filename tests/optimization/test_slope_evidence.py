"""What comparisons of J with its slopes say of the noise in J."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from solving import method, solve

from distfd.optimization.seen_point import Seen
from distfd.optimization.slope_evidence import SlopeEvidence, assess, gains_of
from distfd.results.derivative_result import DerivativeResult
from distfd.results.evaluations import Evaluations


def seen(fun: Any, x: Any, scheme: str = "forward", step: Any = None) -> Seen:
    """J and its differences at x."""
    x = np.asarray(x, dtype=float)
    answer = solve(method(x, scheme, step=step), fun)
    value, nothing = float(answer.value[0]), np.zeros(0, dtype=np.int64)
    evaluations = Evaluations([], str)
    result = DerivativeResult(
        answer.derivative, value, None, answer.step, scheme, nothing, 1, 0, 0, 0, 0.0, None, evaluations
    )
    return Seen(x, value, result, answer.derivative)


def walk(fun: Any, points: Any, *, gradients: bool = True, scheme: str = "forward") -> tuple[SlopeEvidence, Seen, Seen]:
    """A method that goes from point to point; without gradients it stays at the first, and all trials are refused."""
    evidence = SlopeEvidence()
    first = latest = seen(fun, points[0], scheme)
    evidence.value(first.x, first.value, [])
    evidence.gradient(first)
    for x in points[1:]:
        at = np.asarray(x, dtype=float)
        evidence.value(at, float(fun(at)), [latest])
        if gradients:
            latest = seen(fun, at, scheme)
            evidence.gradient(latest)
    evidence.close()
    return evidence, first, latest


class Noise:
    """A quadratic with independent noise."""

    def __init__(self, size: float, seed: int = 1) -> None:
        self.size, self.rng = size, np.random.default_rng(seed)

    def __call__(self, x: Any) -> float:
        return float(np.sum((np.asarray(x) - 1) ** 2) + self.size * self.rng.normal())


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "forward2", "central4"])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_comparison_is_an_estimate_of_the_noise(scheme: str, gradients: bool) -> None:
    """Root mean square of the estimates over the noise: 1 but for chance, 200 of them."""
    size = 1e-6
    estimates = []
    for k in range(50):
        # Steps that are short, so that curvature tells nothing, and longer than the differencing steps.
        points = [np.array([2.0, -1.0]) + t * np.array([1.0, 0.3 * k]) for t in (0, 1e-6, -2e-6, 3e-6, 1.5e-6)]
        evidence, _, _ = walk(Noise(size, k), points, gradients=gradients, scheme=scheme)
        estimates += [each.noise for each in evidence.comparisons]
        assert all(each.has_both == gradients for each in evidence.comparisons)
    assert len(estimates) == 200
    assert 0.85 < float(np.sqrt(np.mean(np.square(estimates)))) / size < 1.15


def test_gains_are_what_weights_and_steps_say() -> None:
    x = np.array([0.5, -2.0])
    forward = gains_of(seen(Noise(0), x, step=1e-3).result)
    np.testing.assert_allclose(forward.total, np.sqrt(2) / (1e-3 * np.abs(x)), rtol=1e-9)
    central = gains_of(seen(Noise(0), x, "central", step=1e-3).result)
    np.testing.assert_allclose(central.total, 1 / (np.sqrt(2) * 1e-3 * np.abs(x)), rtol=1e-9)
    assert not central.shared.any()


def test_noise_at_the_end_is_told_with_its_size() -> None:
    points = [np.array([1 + 0.3**k, 1 - 0.2**k]) for k in range(8)]
    evidence, first, end = walk(Noise(1e-7), points)
    doubt = assess(evidence, first, end, np.ones(2, dtype=bool))
    assert doubt is not None
    assert doubt.matters
    assert doubt.cause == "noise"
    assert 2e-8 < doubt.noise < 5e-7
    assert doubt.error == pytest.approx(doubt.noise * np.sqrt(2) / 1.49e-8, rel=0.3)


def test_a_smooth_j_is_not_doubted_wherever_the_method_is() -> None:
    def fun(x: Any) -> float:
        return float(np.exp(x[0]) + np.exp(-x[0]) + x[1] ** 4 + x[1] ** 2)

    for n in range(2, 12):
        points = [np.array([0.5**k, -(0.6**k)]) for k in range(n)]
        for gradients in (True, False):
            evidence, first, end = walk(fun, points, gradients=gradients)
            doubt = assess(evidence, first, end, np.ones(2, dtype=bool), stopped=True)
            assert doubt is None or not doubt.matters or not gradients


def test_a_gradient_that_stands_out_of_the_noise_is_not_doubted() -> None:
    points = [np.array([11.0 - k, 2.0]) for k in range(8)]
    evidence, first, end = walk(Noise(1e-12), points)
    assert assess(evidence, first, end, np.ones(2, dtype=bool), stopped=True) is None


def test_an_end_on_the_way_down_is_told_with_what_is_left() -> None:
    points = [np.array([11.0 - k, 2.0]) for k in range(8)]
    evidence, first, end = walk(Noise(1e-12), points)
    free = np.ones(2, dtype=bool)
    doubt = assess(evidence, first, end, free)
    assert doubt is not None
    assert (doubt.cause, doubt.matters) == ("early", True)
    assert doubt.decrease == pytest.approx(end.value, rel=1e-3)  # J is |x - 1|^2, and a step by its curvature ends it
    assert assess(evidence, first, end, free, constrained=True) is None
    assert assess(evidence, first, end, free, ftol=1.0) is None
    assert assess(evidence, first, end, free, xtol=1.0) is None
    held = end.x - 1e-9, end.x + 1e-9
    assert assess(evidence, first, end, free, bounds=held) is None


def test_variables_that_bounds_hold_do_not_count() -> None:
    evidence, first, end = walk(Noise(1e-7), [np.array([1 + 0.3**k, 1 - 0.2**k]) for k in range(8)])
    assert assess(evidence, first, end, np.zeros(2, dtype=bool)) is None


def test_a_clean_offset_counts_once_it_drowns_j() -> None:
    for offset, drowned in ((0.0, False), (1e3, False), (1e10, True)):
        points = [np.array([1 + 0.3**k, 1 - 0.2**k]) for k in range(8)]
        evidence, first, end = walk(lambda x, o=offset: o + Noise(0)(x), points)
        doubt = assess(evidence, first, end, np.ones(2, dtype=bool), quantum=0.0)
        assert (doubt is not None and doubt.matters) == drowned
        assert doubt is None or doubt.cause == "round-off"


def test_a_point_that_is_asked_for_twice_counts_once() -> None:
    fun = Noise(0)
    here, there = seen(fun, [2.0, 2.0]), seen(fun, [1.5, 2.0])
    evidence = SlopeEvidence()
    for each in (here, here, there, there):
        evidence.value(each.x, each.value, [here])
    evidence.gradient(there)
    evidence.value(np.array([9.0, 9.0]), np.nan, [here])
    evidence.close()
    assert len(evidence.comparisons) == 1
    assert len(evidence.values) == 2
