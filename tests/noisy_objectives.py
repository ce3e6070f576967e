"""Objectives whose differences are noise: by noise, few digits, a large offset, or parameters of small scale."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import rosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

START = [-1.2, 1.0]
TINY = 1e-9
TIMES = np.linspace(0, 3, 25)
DATA = 2 * np.exp(-0.7 * TIMES) + 0.3 + 0.05 * np.sin(9 * TIMES)


def drawn(x: Any, shape: tuple[int, ...] = ()) -> Any:
    """Standard normal numbers that x alone decides."""
    seed = int.from_bytes(hashlib.blake2b(np.asarray(x, dtype=float).tobytes(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).normal(size=shape)


def noisy(fun: Callable[[Any], float], size: float) -> Callable[[Any], float]:
    """With noise of that standard deviation, the same at the same x."""
    return lambda x: float(fun(x) + size * drawn(x))


def printed(fun: Callable[[Any], float], digits: int) -> Callable[[Any], float]:
    """As a program prints it."""
    return lambda x: float(f"{fun(x):.{digits}g}")


def single(fun: Callable[[Any], float]) -> Callable[[Any], float]:
    """In single precision."""
    return lambda x: float(np.float32(fun(x)))


def quadratic(x: Any) -> float:
    """0 at (1, 2), of condition 10."""
    return float((x[0] - 1) ** 2 + 10 * (x[1] - 2) ** 2)


def small_scale(x: Any) -> float:
    """0 at (1e-9, 2e-9)."""
    return float(np.sum((np.asarray(x) / TINY - np.array([1.0, 2.0])) ** 2))


def model(p: Any) -> Floats:
    return np.asarray(p[0] * np.exp(-p[1] * TIMES) + p[2])


def residuals(p: Any) -> Floats:
    return model(p) - DATA


SCALAR: dict[str, tuple[Callable[[Any], float], list[float]]] = {
    "single precision": (single(rosen), START),
    "6 digits": (printed(rosen, 6), START),
    "4 digits": (printed(quadratic, 4), [3.1, -1.7]),
    "1e9 + f": (lambda x: float(1e9 + rosen(x)), START),
    "noise of 1e-8": (noisy(rosen, 1e-8), START),
    "noise of 1e-6": (noisy(quadratic, 1e-6), [3.1, -1.7]),
    "noise of 1e-4": (noisy(rosen, 1e-4), START),
    "noise of 1e-2": (noisy(quadratic, 1e-2), [3.1, -1.7]),
    "scale of 1e-9": (small_scale, [3e-9, -1e-9]),
}
"""J and x0. None of them can be minimised by differences with SciPy's default steps."""


def _small(p: Any) -> Any:
    """In single precision throughout."""
    q = np.asarray(p, dtype=np.float32)
    times = TIMES.astype(np.float32)
    return np.asarray(q[0] * np.exp(-q[1] * times) + q[2] - DATA.astype(np.float32), dtype=np.float32)


FITS: dict[str, Callable[[Any], Any]] = {
    "single precision": lambda p: np.asarray(_small(p), dtype=float),
    "6 digits": lambda p: np.array([float(f"{value:.6g}") for value in model(p)]) - DATA,
    "4 digits": lambda p: np.array([float(f"{value:.4g}") for value in model(p)]) - DATA,
    "noise of 1e-8": lambda p: residuals(p) + 1e-8 * drawn(p, TIMES.shape),
    "noise of 1e-6": lambda p: residuals(p) + 1e-6 * drawn(p, TIMES.shape),
    "noise of 1e-3": lambda p: residuals(p) + 1e-3 * drawn(p, TIMES.shape),
    "1e9 + r": lambda p: 1e9 + residuals(p),
}
"""Residuals of a fit from (1, 0.2, 0), whose cost at the solution is 0.0287."""
