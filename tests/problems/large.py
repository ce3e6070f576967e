"""Sums of squares of any number of parameters, from More, Garbow & Hillstrom (ACM TOMS 7(1), 1981)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from problems.table import squares

if TYPE_CHECKING:
    from problems.table import Columns


def zeros(d: int) -> list[Any]:
    return [0.0] * d


def extended_rosenbrock(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r, slopes = [], []
    for i in range(0, d, 2):
        a, b = x[i], x[i + 1]
        r += [10 * (b - a**2), 1 - a]
        steep, flat = zeros(d), zeros(d)
        steep[i], steep[i + 1], flat[i] = -20 * a, 10, -1
        slopes += [steep, flat]
    return r, slopes


def extended_powell(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r, slopes = [], []
    for i in range(0, d, 4):
        a, b, c, e = x[i : i + 4]
        r += [a + 10 * b, np.sqrt(5) * (c - e), (b - 2 * c) ** 2, np.sqrt(10) * (a - e) ** 2]
        rows = [zeros(d) for _ in range(4)]
        rows[0][i], rows[0][i + 1] = 1, 10
        rows[1][i + 2], rows[1][i + 3] = np.sqrt(5), -np.sqrt(5)
        rows[2][i + 1], rows[2][i + 2] = 2 * (b - 2 * c), -4 * (b - 2 * c)
        rows[3][i], rows[3][i + 3] = 2 * np.sqrt(10) * (a - e), -2 * np.sqrt(10) * (a - e)
        slopes += rows
    return r, slopes


def penalty_one(x: Columns) -> tuple[Any, Any]:
    d, root = len(x), np.sqrt(1e-5)
    r = [root * (v - 1) for v in x] + [sum(v**2 for v in x) - 0.25]
    slopes: list[list[Any]] = [[root if k == i else 0.0 for k in range(d)] for i in range(d)]
    return r, [*slopes, [2 * v for v in x]]


def variably_dimensioned(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    s = sum((k + 1) * (v - 1) for k, v in enumerate(x))
    r = [v - 1 for v in x] + [s, s**2]
    slopes: list[list[Any]] = [[1.0 if k == i else 0.0 for k in range(d)] for i in range(d)]
    weights = range(1, d + 1)
    return r, [*slopes, list(weights), [2 * s * w for w in weights]]


def trigonometric(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    total = sum(np.cos(v) for v in x)
    r, slopes = [], []
    for i, v in enumerate(x):
        r.append(d - total + (i + 1) * (1 - np.cos(v)) - np.sin(v))
        row = [np.sin(w) for w in x]
        row[i] = row[i] + (i + 1) * np.sin(v) - np.cos(v)
        slopes.append(row)
    return r, slopes


def brown_almost_linear(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    total = sum(x)
    r = [v + total - (d + 1) for v in x[: d - 1]]
    slopes: list[list[Any]] = [[2.0 if k == i else 1.0 for k in range(d)] for i in range(d - 1)]
    rest = [np.prod([x[k] for k in range(d) if k != i], axis=0) for i in range(d)]
    return [*r, rest[0] * x[0] - 1], [*slopes, rest]


def boundary_value(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    h = 1 / (d + 1)
    r, slopes = [], []
    for i in range(d):
        t = (i + 1) * h
        before, after = x[i - 1] if i else 0.0, x[i + 1] if i < d - 1 else 0.0
        r.append(2 * x[i] - before - after + h**2 * (x[i] + t + 1) ** 3 / 2)
        row = zeros(d)
        row[i] = 2 + 1.5 * h**2 * (x[i] + t + 1) ** 2
        if i:
            row[i - 1] = -1.0
        if i < d - 1:
            row[i + 1] = -1.0
        slopes.append(row)
    return r, slopes


def integral_equation(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    t = np.arange(1, d + 1) / (d + 1)
    r, slopes = [], []
    for i in range(d):
        kernel = [(1 - t[i]) * t[j] if j <= i else t[i] * (1 - t[j]) for j in range(d)]
        half = 1 / (2 * (d + 1))
        r.append(x[i] + half * sum(kernel[j] * (x[j] + t[j] + 1) ** 3 for j in range(d)))
        row = [3 * half * kernel[j] * (x[j] + t[j] + 1) ** 2 for j in range(d)]
        row[i] = row[i] + 1
        slopes.append(row)
    return r, slopes


def broyden_tridiagonal(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r, slopes = [], []
    for i in range(d):
        before, after = x[i - 1] if i else 0.0, x[i + 1] if i < d - 1 else 0.0
        r.append((3 - 2 * x[i]) * x[i] - before - 2 * after + 1)
        row = zeros(d)
        row[i] = 3 - 4 * x[i]
        if i:
            row[i - 1] = -1.0
        if i < d - 1:
            row[i + 1] = -2.0
        slopes.append(row)
    return r, slopes


def broyden_banded(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r, slopes = [], []
    for i in range(d):
        near = [j for j in range(max(0, i - 5), min(d, i + 2)) if j != i]
        r.append(x[i] * (2 + 5 * x[i] ** 2) + 1 - sum(x[j] * (1 + x[j]) for j in near))
        row = zeros(d)
        row[i] = 2 + 15 * x[i] ** 2
        for j in near:
            row[j] = -1 - 2 * x[j]
        slopes.append(row)
    return r, slopes


def linear_residuals(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    total = sum(x)
    r = [v - 2 / d * total - 1 for v in x] + [-2 / d * total - 1] * d
    slopes = [[(1.0 if k == i else 0.0) - 2 / d for k in range(d)] for i in range(d)]
    return r, slopes + [[-2 / d] * d] * d


def watson(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r: list[Any] = []
    slopes: list[list[Any]] = []
    for i in range(1, 30):
        t = i / 29
        s = sum(x[j] * t**j for j in range(d))
        r.append(sum(j * x[j] * t ** (j - 1) for j in range(1, d)) - s**2 - 1)
        slopes.append([(j * t ** (j - 1) if j else 0.0) - 2 * s * t**j for j in range(d)])
    r += [x[0], x[1] - x[0] ** 2 - 1]
    slopes += [[1.0] + [0.0] * (d - 1), [-2 * x[0], 1.0] + [0.0] * (d - 2)]
    return r, slopes


# fmt: off
OSBORNE = (
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608,
    0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661,
    0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428,
    0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559,
    0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054,
)
# fmt: on


def osborne_two(x: Columns) -> tuple[Any, Any]:
    r, slopes = [], []
    for i, y in enumerate(OSBORNE):
        t = i / 10
        decay = np.exp(-t * x[4])
        peaks = [np.exp(-((t - x[8 + j]) ** 2) * x[5 + j]) for j in range(3)]
        r.append(y - x[0] * decay - sum(x[1 + j] * peaks[j] for j in range(3)))
        heights = [-p for p in peaks]
        widths = [x[1 + j] * peaks[j] * (t - x[8 + j]) ** 2 for j in range(3)]
        centres = [-2 * x[1 + j] * peaks[j] * x[5 + j] * (t - x[8 + j]) for j in range(3)]
        slopes.append([-decay, *heights, x[0] * t * decay, *widths, *centres])
    return r, slopes


def chebyquad(x: Columns) -> tuple[Any, Any]:
    d = len(x)
    r: list[Any] = []
    slopes: list[list[Any]] = []
    before = [(v * 0 + 1, v * 0) for v in x]
    now = [(2 * v - 1, v * 0 + 2) for v in x]
    for i in range(1, d + 1):
        r.append(sum(t for t, _ in now) / d - (0.0 if i % 2 else -1 / (i * i - 1)))
        slopes.append([dt / d for _, dt in now])
        following = [
            (2 * (2 * v - 1) * t - t0, 4 * t + 2 * (2 * v - 1) * dt - dt0)
            for v, (t, dt), (t0, dt0) in zip(x, now, before, strict=True)
        ]
        before, now = now, following
    return r, slopes


squares("extended rosenbrock", [-1.2, 1] * 5, extended_rosenbrock)
squares("extended powell", [3, -1, 0.5, 1] * 2, extended_powell)
squares("penalty one", np.arange(1, 11) / 5, penalty_one)
squares("variably dimensioned", 1 - np.arange(1, 9) / 8, variably_dimensioned)
squares("trigonometric", np.full(10, 0.1), trigonometric)
squares("brown almost linear", np.full(8, 0.5), brown_almost_linear, "quadratic")
squares("boundary value", np.linspace(0.1, 0.9, 8) * np.linspace(-0.9, -0.1, 8), boundary_value)
squares("integral equation", np.linspace(0.1, 0.9, 8) * np.linspace(-0.9, -0.1, 8), integral_equation)
squares("broyden tridiagonal", -np.ones(10), broyden_tridiagonal)
squares("broyden banded", -np.ones(10), broyden_banded)
squares("linear residuals", np.ones(10), linear_residuals, "quadratic")
squares("watson", np.full(6, 0.2), watson)
squares("osborne two", [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], osborne_two)
squares("chebyquad", np.arange(1, 9) / 9, chebyquad)
