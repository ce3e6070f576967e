"""The largest value between the times at which an output is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distfd.objectives.fmu.extrema import largest


def test_a_parabola_is_exact_whatever_the_times() -> None:
    times = np.array([0.0, 0.3, 1.1, 1.2, 2.0])
    assert largest(times, 3.0 - 2.0 * (times - 0.9) ** 2) == pytest.approx(3.0, rel=1e-14)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [0.0, 2.0, 2.0, 1.0], [2.0], [1.0, 1.0]])
def test_ends_and_plateaus_are_as_they_were_read(values: list[float]) -> None:
    assert largest(np.arange(len(values), dtype=float), np.array(values)) == max(values)


def test_what_is_no_number_stays_so() -> None:
    assert np.isnan(largest(np.arange(3.0), np.array([0.0, np.nan, 1.0])))


def _peak(p: Any, times: Any, *, between: bool) -> float:
    """Of exp(-a t) sin(b t), whose first maximum is at arctan(b / a) / b."""
    values = np.exp(-p[0] * times) * np.sin(p[1] * times)
    return largest(times, values) if between else float(values.max())


@pytest.mark.parametrize("step", [0.1, 0.05, 0.01])
def test_the_derivative_is_that_of_the_peak_in_time(step: float) -> None:
    times, p, h = np.arange(0.0, 2.0, step), np.array([0.4, 1.9]), 1e-6

    def true(q: Any) -> float:
        t = np.arctan(q[1] / q[0]) / q[1]
        return float(np.exp(-q[0] * t) * np.sin(q[1] * t))

    def slope(of: Any) -> Any:
        return np.array([(of(p + d) - of(p - d)) / (2 * h) for d in np.eye(2) * h])

    followed = slope(lambda q: _peak(q, times, between=True))
    np.testing.assert_allclose(followed, slope(true), rtol=2 * step**2)
    read = slope(lambda q: _peak(q, times, between=False))
    assert np.abs(read - slope(true)).max() > 5 * np.abs(followed - slope(true)).max()
