"""The quickstart: how badly the Lotka-Volterra equations explain 21 years of hare and lynx pelts."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from scipy.integrate import solve_ivp

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pelts traded by the Hudson's Bay Company, 1900 to 1920, in thousands.
HARE = "30 47.2 70.2 77.4 36.3 20.6 18.1 21.4 22 25.4 27.1 40.3 57 76.6 52.3 19.5 11.2 7.6 14.6 16.2 24.7"
LYNX = "4 6.1 9.8 35.2 59.4 41.7 19 13 8.3 9.1 7.4 8 12.3 19.5 45.7 51.1 29.7 15.8 9.7 10.1 8.6"
MEASURED = np.log(np.array([HARE.split(), LYNX.split()], dtype=np.float64))
YEARS = np.arange(MEASURED.shape[1], dtype=np.float64)

# Four times what the worst corner of the quickstart's bounds needs; past them a solver can crawl for hours.
MOST_CALLS = 25_000


def misfit(x: NDArray[np.float64]) -> float:
    """Sum of the squares of `residuals`."""
    return float(np.sum(_differences(x) ** 2))


def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of logarithms between the model and the pelts, (42,): 21 years of hares, then of lynxes."""
    return _differences(x).ravel()


def _differences(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Model minus pelts, (2, 21), in logarithms.

    The equations are u' = a u - b u v (hares) and v' = -c v + d u v (lynxes). They are solved for log u and log v,
    so that no population can step below zero and its logarithm be NaN.

    Parameters
    ----------
    x : ndarray, (6,)
        Logarithms of a, b, c, d (per year) and of u and v in 1900 (thousands).

    Raises
    ------
    ArithmeticError
        Where the equations cannot be solved. The evaluation then counts as failed: no number is made up for it.
    """
    calls = count()

    def rates(_year: float, logs: NDArray[np.float64]) -> list[float]:
        if next(calls) == MOST_CALLS:
            raise ArithmeticError(f"the ODE solver gets nowhere in {MOST_CALLS} calls: these parameters are too wild")
        hares, lynxes = np.exp(logs)
        return [a - b * lynxes, d * hares - c]

    # DOP853, as it is the smoothest of solve_ivp's methods here: quickstart.yaml has the numbers.
    # An overflow is that of a trial step, which the solver then takes shorter.
    with np.errstate(over="ignore", invalid="ignore"):
        a, b, c, d = np.exp(x[:4])
        solved = solve_ivp(rates, (YEARS[0], YEARS[-1]), x[4:], method="DOP853", t_eval=YEARS, rtol=1e-9, atol=1e-9)
    if not solved.success:
        raise ArithmeticError(f"the ODE solver gave up: {solved.message}")
    return np.asarray(solved.y - MEASURED)
