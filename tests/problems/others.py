"""Other functions: those of the optimisation literature, fits, and a few made for their derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from problems.table import problem

if TYPE_CHECKING:
    from problems.table import Columns

sin, cos, exp, log, sqrt = np.sin, np.cos, np.exp, np.log, np.sqrt

problem("exponentials", [0.3, -0.5, 1.0, 0.1], lambda x: sum(map(exp, x)), lambda x: list(map(exp, x)))
problem("sines", [0.4, 1.9, -0.7, 2.5, -2.2], lambda x: sum(map(sin, x)), lambda x: list(map(cos, x)))
problem(
    "arc tangents",
    [0.7, -0.3, 1.5],
    lambda x: sum(np.arctan(2 * v) for v in x),
    lambda x: [2 / (1 + 4 * v * v) for v in x],
)
problem("cubes", [1.0, -2.0, 0.5, 3.0], lambda x: sum(v**3 for v in x), lambda x: [3 * v**2 for v in x])
problem(
    "styblinski tang",
    [1.2, -0.7, 2.3, -1.9],
    lambda x: sum(v**4 - 16 * v**2 + 5 * v for v in x) / 2,
    lambda x: [(4 * v**3 - 32 * v + 5) / 2 for v in x],
)
problem(
    "rastrigin",
    [0.13, 0.41, -0.77],
    lambda x: sum(10 + v**2 - 10 * cos(2 * np.pi * v) for v in x),
    lambda x: [2 * v + 20 * np.pi * sin(2 * np.pi * v) for v in x],
)


def griewank_gradient(x: Columns) -> Any:
    root = [sqrt(k + 1) for k in range(len(x))]
    waves = [cos(v / s) for v, s in zip(x, root, strict=True)]
    rest = [np.prod([w for j, w in enumerate(waves) if j != k], axis=0) for k in range(len(x))]
    return [x[k] / 2000 + rest[k] * sin(x[k] / root[k]) / root[k] for k in range(len(x))]


problem(
    "griewank",
    [1.0, 2.0, -1.5, 0.5],
    lambda x: sum(v**2 for v in x) / 4000 - np.prod([cos(v / sqrt(k + 1)) for k, v in enumerate(x)], axis=0) + 1,
    griewank_gradient,
)


def ackley_gradient(x: Columns) -> Any:
    d = len(x)
    root = sqrt(sum(v * v for v in x) / d)
    waves = exp(sum(cos(2 * np.pi * v) for v in x) / d)
    return [4 * exp(-0.2 * root) * v / (d * root) + 2 * np.pi / d * waves * sin(2 * np.pi * v) for v in x]


problem(
    "ackley",
    [0.6, -1.1, 0.3],
    lambda x: (
        -20 * exp(-0.2 * sqrt(sum(v * v for v in x) / len(x))) - exp(sum(cos(2 * np.pi * v) for v in x) / len(x)) + 20
    ),
    ackley_gradient,
)
problem(
    "himmelblau",
    [1.0, 2.5],
    lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2,
    lambda x: [
        4 * x[0] * (x[0] ** 2 + x[1] - 11) + 2 * (x[0] + x[1] ** 2 - 7),
        2 * (x[0] ** 2 + x[1] - 11) + 4 * x[1] * (x[0] + x[1] ** 2 - 7),
    ],
)
problem(
    "six hump camel",
    [0.8, -0.4],
    lambda x: (4 - 2.1 * x[0] ** 2 + x[0] ** 4 / 3) * x[0] ** 2 + x[0] * x[1] + (4 * x[1] ** 2 - 4) * x[1] ** 2,
    lambda x: [8 * x[0] - 8.4 * x[0] ** 3 + 2 * x[0] ** 5 + x[1], x[0] + 16 * x[1] ** 3 - 8 * x[1]],
)
problem(
    "mccormick",
    [0.5, 1.2],
    lambda x: sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1,
    lambda x: [
        cos(x[0] + x[1]) + 2 * (x[0] - x[1]) - 1.5,
        cos(x[0] + x[1]) - 2 * (x[0] - x[1]) + 2.5,
    ],
)
B1, C1 = 5.1 / (4 * np.pi**2), 5 / np.pi
problem(
    "branin",
    [2.0, 4.0],
    lambda x: (x[1] - B1 * x[0] ** 2 + C1 * x[0] - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * cos(x[0]) + 10,
    lambda x: [
        2 * (x[1] - B1 * x[0] ** 2 + C1 * x[0] - 6) * (C1 - 2 * B1 * x[0]) - 10 * (1 - 1 / (8 * np.pi)) * sin(x[0]),
        2 * (x[1] - B1 * x[0] ** 2 + C1 * x[0] - 6),
    ],
)


def zakharov_gradient(x: Columns) -> Any:
    s = sum(0.5 * (k + 1) * v for k, v in enumerate(x))
    return [2 * v + 0.5 * (k + 1) * (2 * s + 4 * s**3) for k, v in enumerate(x)]


problem(
    "zakharov",
    [0.5, -0.3, 0.2, 0.4, -0.1],
    lambda x: (
        sum(v**2 for v in x)
        + sum(0.5 * (k + 1) * v for k, v in enumerate(x)) ** 2
        + sum(0.5 * (k + 1) * v for k, v in enumerate(x)) ** 4
    ),
    zakharov_gradient,
)
problem(
    "log sum exp",
    [0.5, -1.0, 2.0, 1.2, 0.1, -0.4],
    lambda x: log(sum(map(exp, x))),
    lambda x: [exp(v) / sum(map(exp, x)) for v in x],
)


def _logistic() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(30, 12)), rng.integers(0, 2, 30)

    def margins(x: Columns) -> list[Any]:
        return [
            sum(a * v for a, v in zip(row, x, strict=True)) * (2 * y - 1) for row, y in zip(rows, labels, strict=True)
        ]

    def gradient(x: Columns) -> Any:
        pull = [-(2 * y - 1) / (1 + exp(m)) / 30 for y, m in zip(labels, margins(x), strict=True)]
        return [sum(p * row[k] for p, row in zip(pull, rows, strict=True)) for k in range(len(x))]

    return lambda x: sum(log(1 + exp(-m)) for m in margins(x)) / 30, gradient


problem("logistic regression", np.linspace(-1, 1.2, 12), *_logistic())

A3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
P3 = np.array([[0.3689, 0.117, 0.2673], [0.4699, 0.4387, 0.747], [0.1091, 0.8732, 0.5547], [0.0382, 0.5743, 0.8828]])
H3 = (1.0, 1.2, 3.0, 3.2)


def _bumps(x: Columns) -> list[Any]:
    return [h * exp(-sum(a * (v - p) ** 2 for a, v, p in zip(A3[i], x, P3[i], strict=True))) for i, h in enumerate(H3)]


problem(
    "hartmann three",
    [0.3, 0.6, 0.7],
    lambda x: -sum(_bumps(x)),
    lambda x: [sum(2 * A3[i, k] * (x[k] - P3[i, k]) * b for i, b in enumerate(_bumps(x))) for k in range(3)],
)
problem(
    "lorentzian",
    [0.8, -0.6],
    lambda x: 1 / (1 + x[0] ** 2 + 4 * x[1] ** 2),
    lambda x: [-2 * x[0] / (1 + x[0] ** 2 + 4 * x[1] ** 2) ** 2, -8 * x[1] / (1 + x[0] ** 2 + 4 * x[1] ** 2) ** 2],
)
problem(
    "ideal gas",
    [2.0, 300.0, 0.5],
    lambda x: x[0] * 8.314 * x[1] / (x[2] - 0.04 * x[0]) - 0.14 * x[0] ** 2 / x[2] ** 2,
    lambda x: [
        8.314 * x[1] * x[2] / (x[2] - 0.04 * x[0]) ** 2 - 0.28 * x[0] / x[2] ** 2,
        x[0] * 8.314 / (x[2] - 0.04 * x[0]),
        -x[0] * 8.314 * x[1] / (x[2] - 0.04 * x[0]) ** 2 + 0.28 * x[0] ** 2 / x[2] ** 3,
    ],
)


def _oscillation_gradient(x: Columns) -> Any:
    a, b, w, p = x
    parts: list[Any] = [0, 0, 0, 0]
    for t in np.linspace(0, 3, 16):
        e, c, s = exp(-b * t), cos(w * t + p), sin(w * t + p)
        r = 2 * (a * e * c - 0.5 * cos(t))
        for k, slope in enumerate((e * c, -t * a * e * c, -t * a * e * s, -a * e * s)):
            parts[k] = parts[k] + r * slope
    return parts


problem(
    "damped oscillation",
    [1.5, 0.3, 2.0, 0.7],
    lambda x: sum((x[0] * exp(-x[1] * t) * cos(x[2] * t + x[3]) - 0.5 * cos(t)) ** 2 for t in np.linspace(0, 3, 16)),
    _oscillation_gradient,
)
problem("sphere", [1.0, -2.0, 0.5, 3.0, 0.0], lambda x: sum(v**2 for v in x), lambda x: [2 * v for v in x], "quadratic")
problem(
    "ill conditioned quadratic",
    [1.0, 1.0, -1.0, 2.0, 0.5, -0.5],
    lambda x: sum(10.0**k * v**2 for k, v in enumerate(x)),
    lambda x: [2 * 10.0**k * v for k, v in enumerate(x)],
    "quadratic",
)
problem(
    "shifted exponential",
    [1.0, 0.5],
    lambda x: 1e6 + exp(x[0]) + x[0] * exp(-x[1]),
    lambda x: [exp(x[0]) + exp(-x[1]), -x[0] * exp(-x[1])],
)
problem(
    "tiny",
    [1.0, 0.5, 2.0],
    lambda x: 1e-6 * (exp(x[0]) * sin(x[1]) + x[2] ** 3),
    lambda x: [1e-6 * exp(x[0]) * sin(x[1]), 1e-6 * exp(x[0]) * cos(x[1]), 3e-6 * x[2] ** 2],
)
problem(
    "plane",
    [1.0, -2.0, 3.0],
    lambda x: 2 * x[0] - 3 * x[1] + 0.5 * x[2] + 1,
    lambda x: [2.0, -3.0, 0.5],
    "linear",
)
problem(
    "product",
    [1.5, -0.8, 2.0, 0.7],
    lambda x: x[0] * x[1] * x[2] * x[3],
    lambda x: [x[1] * x[2] * x[3], x[0] * x[2] * x[3], x[0] * x[1] * x[3], x[0] * x[1] * x[2]],
    "linear",
)
problem(
    "many exponentials",
    np.linspace(-1, 1.5, 25),
    lambda x: sum((1 + k % 3) * exp(0.7 * v) for k, v in enumerate(x)),
    lambda x: [0.7 * (1 + k % 3) * exp(0.7 * v) for k, v in enumerate(x)],
)


def _chain_gradient(x: Columns) -> Any:
    parts: list[Any] = [0] * len(x)
    for k in range(len(x) - 1):
        inner = x[k] * x[k + 1] + x[k]
        parts[k] = parts[k] + cos(inner) * (x[k + 1] + 1)
        parts[k + 1] = parts[k + 1] + cos(inner) * x[k]
    return parts


problem(
    "chain of sines",
    np.linspace(0.3, 2.1, 20),
    lambda x: sum(sin(x[k] * x[k + 1] + x[k]) for k in range(len(x) - 1)),
    _chain_gradient,
)
