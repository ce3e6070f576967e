"""Derivatives that were wrong in silence: J is flat near x, has an edge, or shows no noise that can be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from solving import quiet, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


# --- flat near x -----------------------------------------------------------------------------------------------------


def staircase(x: Floats) -> float:
    """Steps of 0.01 that binary numbers do not hold exactly, so that the values have all digits of a double."""
    return float(np.floor((0.3 * np.sin(x[0]) + 0.004 * x[1]) / 1e-2) * 1e-2 * 1.1)


@pytest.mark.parametrize("options", [{"step": "auto"}, {"accuracy": 1e-2}], ids=["auto", "accuracy"])
def test_a_derivative_of_a_step_is_told(options: Any) -> None:
    x = np.array([0.7, 0.4])
    result = quiet(staircase, x, **options)
    for k, exact in enumerate((0.3 * np.cos(0.7) * 1.1, 0.0044)):
        off = abs(result.derivative[k] - exact) > max(0.1 * exact, result.error[k])
        assert not off or told(result, f"coordinate {k}")


@pytest.mark.parametrize("width", [2e-5, 1e-4])
def test_a_plateau_is_told(width: float) -> None:
    def plateau(x: Floats) -> float:
        away = abs(x[0] - 0.7)
        return float(1.3 + np.pi * max(0.0, away - width) + np.sin(x[1]))

    result = quiet(plateau, [0.7, 0.4], step="auto")
    assert abs(result.derivative[0]) < 1e-9
    assert result.warnings


@pytest.mark.parametrize("power", [2, 4, 6])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, 1e9])
def test_a_minimum_at_x_is_no_plateau(power: int, offset: float) -> None:
    result = quiet(lambda x: float(offset + (x[0] - 0.7) ** power + np.sin(x[1])), [0.7, 0.4], step="auto")
    assert not told(result, "flat part")


# --- noise that is not known -----------------------------------------------------------------------------------------


def test_without_error_bars_auto_says_so_and_a_scale_helps() -> None:
    unknown = 0
    for power in np.linspace(-3.3, -3.1, 5):
        size = 10.0**power

        def fun(x: Floats, size: float = size) -> float:
            return float(1 / (1 + (x[0] / size) ** 2) + x[1])

        for t in 10.0 ** np.linspace(-0.7, -0.5, 5):
            x = np.array([size * t, 1.5])
            result = quiet(fun, x, step="auto")
            if np.isnan(result.error).all():
                unknown += 1
                assert told(result, "has no error bars")
                right = quiet(fun, x, step="auto", scale=[size, 1.0])
                assert not right.warnings
                assert right.derivative[0] * size == pytest.approx(-2 * t / (1 + t**2) ** 2, rel=1e-6)
    assert unknown > 0


# --- an edge of J's domain -------------------------------------------------------------------------------------------

EDGE = np.array([1.25, 0.5])


def root(x: Floats) -> float:
    return float(np.sqrt(x - EDGE).sum()) if (x >= EDGE).all() else float("nan")


def test_a_check_that_an_edge_prevents_is_told_and_bounds_help() -> None:
    x = EDGE + np.array([3e-9, 1e-3])
    result = quiet(root, x, check=True)
    assert abs(result.derivative[0] / (0.5 / np.sqrt(x[0] - EDGE[0])) - 1) > 0.1
    assert result.warnings
    seen = 0
    for shift in np.linspace(1e-9, 1e-8, 10):
        result = quiet(root, EDGE + np.array([shift, 1e-3]), check=True)
        assert result.warnings
        seen += told(result, "could not be checked")
    assert seen > 0
    bounded = quiet(root, x, check=True, bounds=[(EDGE[0], None), (EDGE[1], None)])
    assert told(bounded, "in doubt"), "the check's point is inside, and shows that J curves within the step"
