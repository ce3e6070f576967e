"""Sums of squares of few parameters, from More, Garbow & Hillstrom (ACM TOMS 7(1), 1981), by their numbers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from problems.table import problem, squares

if TYPE_CHECKING:
    from problems.table import Columns

exp = np.exp


def rosenbrock(x: Columns) -> tuple[Any, Any]:
    a, b = x
    return [10 * (b - a**2), 1 - a], [[-20 * a, 10], [-1, 0]]


def freudenstein_roth(x: Columns) -> tuple[Any, Any]:
    a, b = x
    r = [-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b]
    return r, [[1, 10 * b - 3 * b**2 - 2], [1, 3 * b**2 + 2 * b - 14]]


def powell_badly_scaled(x: Columns) -> tuple[Any, Any]:
    a, b = x
    return [1e4 * a * b - 1, exp(-a) + exp(-b) - 1.0001], [[1e4 * b, 1e4 * a], [-exp(-a), -exp(-b)]]


def brown_badly_scaled(x: Columns) -> tuple[Any, Any]:
    a, b = x
    return [a - 1e6, b - 2e-6, a * b - 2], [[1, 0], [0, 1], [b, a]]


def beale(x: Columns) -> tuple[Any, Any]:
    a, b = x
    r = [y - a * (1 - b**i) for i, y in zip((1, 2, 3), (1.5, 2.25, 2.625), strict=True)]
    return r, [[-(1 - b**i), a * i * b ** (i - 1)] for i in (1, 2, 3)]


def jennrich_sampson(x: Columns) -> tuple[Any, Any]:
    a, b = x
    steps = range(1, 11)
    return [2 + 2 * i - exp(i * a) - exp(i * b) for i in steps], [[-i * exp(i * a), -i * exp(i * b)] for i in steps]


def helical_valley(x: Columns) -> tuple[Any, Any]:
    a, b, c = x
    s = a * a + b * b
    angle = np.arctan(b / a) / (2 * np.pi) + np.where(np.real(a) < 0, 0.5, 0.0)
    root = np.sqrt(s)
    turn = 1 / (2 * np.pi * s)
    return [10 * (c - 10 * angle), 10 * (root - 1), c], [
        [100 * b * turn, -100 * a * turn, 10],
        [10 * a / root, 10 * b / root, 0],
        [0, 0, 1],
    ]


BARD = (0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)


def bard(x: Columns) -> tuple[Any, Any]:
    a, b, c = x
    r, slopes = [], []
    for u, y in enumerate(BARD, 1):
        v, w = 16 - u, min(u, 16 - u)
        below = v * b + w * c
        r.append(y - (a + u / below))
        slopes.append([-1, u * v / below**2, u * w / below**2])
    return r, slopes


PEAK = (0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989)
GAUSSIAN = PEAK + PEAK[-2::-1]


def gaussian(x: Columns) -> tuple[Any, Any]:
    a, b, c = x
    r, slopes = [], []
    for i, y in enumerate(GAUSSIAN, 1):
        t = (8 - i) / 2
        e = exp(-b * (t - c) ** 2 / 2)
        r.append(a * e - y)
        slopes.append([e, -a * e * (t - c) ** 2 / 2, a * e * b * (t - c)])
    return r, slopes


MEYER = (34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872)


def meyer(x: Columns) -> tuple[Any, Any]:
    a, b, c = x
    r, slopes = [], []
    for i, y in enumerate(MEYER, 1):
        t = 45 + 5 * i
        e = exp(b / (t + c))
        r.append(a * e - y)
        slopes.append([e, a * e / (t + c), -a * e * b / (t + c) ** 2])
    return r, slopes


def box(x: Columns) -> tuple[Any, Any]:
    a, b, c = x
    r, slopes = [], []
    for i in range(1, 11):
        t = 0.1 * i
        gap = np.exp(-t) - np.exp(-10 * t)
        r.append(exp(-t * a) - exp(-t * b) - c * gap)
        slopes.append([-t * exp(-t * a), t * exp(-t * b), -gap])
    return r, slopes


def powell_singular(x: Columns) -> tuple[Any, Any]:
    a, b, c, d = x
    five, ten = np.sqrt(5), np.sqrt(10)
    return [a + 10 * b, five * (c - d), (b - 2 * c) ** 2, ten * (a - d) ** 2], [
        [1, 10, 0, 0],
        [0, 0, five, -five],
        [0, 2 * (b - 2 * c), -4 * (b - 2 * c), 0],
        [2 * ten * (a - d), 0, 0, -2 * ten * (a - d)],
    ]


def wood(x: Columns) -> tuple[Any, Any]:
    a, b, c, d = x
    ninety, ten = np.sqrt(90), np.sqrt(10)
    r = [10 * (b - a**2), 1 - a, ninety * (d - c**2), 1 - c, ten * (b + d - 2), (b - d) / ten]
    return r, [
        [-20 * a, 10, 0, 0],
        [-1, 0, 0, 0],
        [0, 0, -2 * ninety * c, ninety],
        [0, 0, -1, 0],
        [0, ten, 0, ten],
        [0, 1 / ten, 0, -1 / ten],
    ]


KOWALIK_Y = (0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
KOWALIK_U = (4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)


def kowalik_osborne(x: Columns) -> tuple[Any, Any]:
    a, b, c, d = x
    r, slopes = [], []
    for y, u in zip(KOWALIK_Y, KOWALIK_U, strict=True):
        top, below = u * u + u * b, u * u + u * c + d
        r.append(y - a * top / below)
        slopes.append([-top / below, -a * u / below, a * top * u / below**2, a * top / below**2])
    return r, slopes


def brown_dennis(x: Columns) -> tuple[Any, Any]:
    a, b, c, d = x
    r, slopes = [], []
    for i in range(1, 21):
        t = i / 5
        p, q = a + t * b - np.exp(t), c + d * np.sin(t) - np.cos(t)
        r.append(p**2 + q**2)
        slopes.append([2 * p, 2 * p * t, 2 * q, 2 * q * np.sin(t)])
    return r, slopes


def biggs(x: Columns) -> tuple[Any, Any]:
    a, b, c, d, e, f = x
    r, slopes = [], []
    for i in range(1, 14):
        t = 0.1 * i
        y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
        u, v, w = exp(-t * a), exp(-t * b), exp(-t * e)
        r.append(c * u - d * v + f * w - y)
        slopes.append([-t * c * u, t * d * v, u, -v, -t * f * w, w])
    return r, slopes


def penalty_two(x: Columns) -> tuple[Any, Any]:
    d, root = len(x), np.sqrt(1e-5)
    r, slopes = [x[0] - 0.2], [[1] + [0] * (d - 1)]
    for i in range(1, d):
        y = np.exp((i + 1) / 10) + np.exp(i / 10)
        r.append(root * (exp(x[i] / 10) + exp(x[i - 1] / 10) - y))
        row: list[Any] = [0] * d
        row[i], row[i - 1] = root * exp(x[i] / 10) / 10, root * exp(x[i - 1] / 10) / 10
        slopes.append(row)
    for i in range(1, d):
        r.append(root * (exp(x[i] / 10) - np.exp(-0.1)))
        row = [0] * d
        row[i] = root * exp(x[i] / 10) / 10
        slopes.append(row)
    weights = np.arange(d, 0, -1)
    r.append(sum(w * v**2 for w, v in zip(weights, x, strict=True)) - 1)
    slopes.append([2 * w * v for w, v in zip(weights, x, strict=True)])
    return r, slopes


squares("rosenbrock", [-1.2, 1], rosenbrock)
squares("freudenstein roth", [0.5, -2], freudenstein_roth)
squares("powell badly scaled", [0.1, 1], powell_badly_scaled)
squares("brown badly scaled", [1, 1], brown_badly_scaled, "quadratic")
squares("beale", [1, 1.2], beale)
squares("jennrich sampson", [0.3, 0.4], jennrich_sampson)
squares("helical valley", [-1, 0.3, 0.5], helical_valley)
squares("bard", [1, 1.2, 0.9], bard)
squares("gaussian", [0.4, 1.1, 0.1], gaussian)
squares("meyer", [0.02, 4000, 250], meyer)
squares("box", [0.3, 10, 20], box)
squares("powell singular", [3, -1, 0.5, 1], powell_singular)
squares("wood", [-3, -1, -3, -1], wood)
squares("kowalik osborne", [0.25, 0.39, 0.415, 0.39], kowalik_osborne)
squares("brown dennis", [25, 5, -5, -1], brown_dennis)
squares("biggs", [1, 2, 1.5, 1.2, 1.3, 0.8], biggs)
squares("penalty two", [0.5, 0.4, 0.6, 0.5], penalty_two)

problem(
    "booth",
    [1.5, -0.5],
    lambda x: (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2,
    lambda x: [
        2 * (x[0] + 2 * x[1] - 7) + 4 * (2 * x[0] + x[1] - 5),
        4 * (x[0] + 2 * x[1] - 7) + 2 * (2 * x[0] + x[1] - 5),
    ],
    "quadratic",
)
