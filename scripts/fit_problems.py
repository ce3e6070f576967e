"""Residuals to fit, for scripts/bench_least_squares.py: the 31 of More, Garbow & Hillstrom, and fits of data."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


@dataclass(frozen=True)
class Fit:
    """Residuals (m,) of x (d,), a start, and the least cost (half the sum of squares) that two ways come to."""

    name: str
    residuals: Callable[[Any], Any]
    x0: Any
    least: float
    bounds: Any = None


def of_hillstrom() -> list[Fit]:
    """The 31 sums of squares of the tests' table, with the least cost to which exact Jacobians lead from x0."""
    import problems
    from problems import large, small

    found = []
    for name, one in problems.PROBLEMS.items():
        columns = getattr(small, name.replace(" ", "_"), None) or getattr(large, name.replace(" ", "_"), None)
        if columns is not None:
            found.append(_fit(name, _residuals(columns), one.x0, _jacobian(columns, len(one.x0))))
    return found


def _residuals(columns: Any) -> Callable[[Any], Any]:
    return lambda x: np.array([float(part) for part in columns(x)[0]])


def _jacobian(columns: Any, d: int) -> Callable[[Any], Any]:
    return lambda x: np.array([[float(part) for part in row] for row in columns(x)[1]]).reshape(-1, d)


def _fit(name: str, residuals: Any, x0: Any, jacobian: Any = "3-point") -> Fit:
    from scipy.optimize import least_squares

    x0 = np.array(x0, dtype=float)
    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 3000}
    costs = []
    with np.errstate(all="ignore"):
        for method, scale in (("trf", 1.0), ("trf", "jac"), ("lm", 1.0), ("dogbox", 1.0)):
            if method == "lm" and len(residuals(x0)) < len(x0):
                continue
            try:
                costs.append(least_squares(residuals, x0, jac=jacobian, method=method, x_scale=scale, **tight).cost)
            except ValueError:  # residuals that are not finite on the way
                continue
    return Fit(name, residuals, x0, float(sorted(costs)[:2][-1]))


def untuned() -> list[Fit]:
    """Fits that no setting of distfd's was chosen on: 21 models from two starts each, and from starts off by 10 %.

    The models, their parameters and both starts are those of NIST's Statistical Reference Datasets for nonlinear
    regression where there are such (https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml), with simulated data; the
    others are of kinetics, spectra and heat conduction.
    """
    found = []
    for name, model, truth, starts, t in _models():
        rng = np.random.default_rng(sum(map(ord, name)))
        clean = model(np.array(truth, dtype=float), t)
        data = clean + 0.01 * np.sqrt(np.mean(clean**2)) * rng.standard_normal(len(clean))

        def residuals(p: Any, model: Any = model, t: Any = t, data: Any = data) -> Any:
            return model(np.asarray(p, dtype=float), t) - data

        for k, start in enumerate(starts):
            x0 = np.array(start, dtype=float)
            found.append(_fit(f"{name} {k + 1}", residuals, x0))
            off = x0 + 0.1 * np.where(x0 != 0, np.abs(x0), 1.0) * rng.standard_normal(len(x0))
            found.append(_fit(f"{name} {k + 1}, start off", residuals, off))
    return found


def _reaction(p: Any, t: Any) -> Any:
    """A -> B -> C with a way back, by its closed form of eigenvalues."""
    rates = np.array([[-p[0], p[1], 0], [p[0], -p[1] - p[2], 0], [0, p[2], 0]])
    values, vectors = np.linalg.eig(rates)
    weights = np.linalg.solve(vectors, np.array([1.0, 0, 0]))
    return np.real((vectors * weights) @ np.exp(np.outer(values, t))).ravel()


def _conduction(p: Any, t: Any) -> Any:
    """Temperatures in a rod of d pieces with conductivities exp(p), heated at two places."""
    k = np.exp(p)
    n = len(k) - 1
    rod = np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)
    loads = np.stack([np.sin(np.pi * j * (np.arange(n) + 1) / (n + 1)) for j in (1, 2, 3)], axis=1)
    return np.linalg.solve(rod, loads).ravel() * (1 + 0 * t[0])


def _peaks(p: Any, t: Any) -> Any:
    """Peaks of (height, place, width) each."""
    parts = p.reshape(-1, 3)
    return sum(h * np.exp(-(((t - c) / w) ** 2)) for h, c, w in parts)


def _models() -> list[tuple[str, Callable[[Any, Any], Any], Any, Any, Any]]:
    """Name, model (parameters, t), parameters of the data, starts, and t."""
    exp, line = np.exp, np.linspace
    wave = np.linspace(-0.6, 0.6, 8)
    return [
        (
            "misra1a",
            lambda p, t: p[0] * (1 - exp(-p[1] * t)),
            (238.94, 5.5e-4),
            ((500, 1e-4), (250, 5e-4)),
            line(77, 760, 14),
        ),
        (
            "chwirut",
            lambda p, t: exp(-p[0] * t) / (p[1] + p[2] * t),
            (0.19, 0.0061, 0.0105),
            ((0.1, 0.01, 0.02), (0.15, 0.008, 0.01)),
            line(0.5, 6, 54),
        ),
        (
            "lanczos",
            lambda p, t: sum(p[k] * exp(-p[k + 1] * t) for k in (0, 2, 4)),
            (0.095, 1, 0.86, 3, 1.56, 5),
            ((1.2, 0.3, 5.6, 5.5, 6.5, 7.6), (0.5, 0.7, 3.6, 4.2, 4, 6.3)),
            line(0, 1.15, 24),
        ),
        (
            "gauss1",
            lambda p, t: p[0] * exp(-p[1] * t) + _peaks(p[2:], t),
            (98.8, 0.0105, 100.5, 67.5, 23.1, 71.9, 179, 18.4),
            ((97, 0.009, 100, 65, 20, 70, 178, 16.5), (94, 0.0105, 99, 63, 25, 71, 180, 20)),
            line(1, 250, 125),
        ),
        ("danwood", lambda p, t: p[0] * t ** p[1], (0.77, 3.86), ((1, 5), (0.7, 4)), line(1.3, 1.7, 6)),
        (
            "kirby2",
            lambda p, t: (p[0] + p[1] * t + p[2] * t**2) / (1 + p[3] * t + p[4] * t**2),
            (1.67, -0.14, 0.0026, -0.0017, 2.2e-5),
            ((2, -0.1, 0.003, -0.001, 1e-5), (1.5, -0.15, 0.0025, -0.002, 2e-5)),
            line(10, 370, 75),
        ),
        (
            "mgh17",
            lambda p, t: p[0] + p[1] * exp(-t * p[3]) + p[2] * exp(-t * p[4]),
            (0.375, 1.94, -1.46, 0.0129, 0.0221),
            ((50, 150, -100, 1, 2), (0.5, 1.5, -1, 0.01, 0.02)),
            line(0, 320, 33),
        ),
        (
            "roszman",
            lambda p, t: p[0] - p[1] * t - np.arctan2(p[2], t - p[3]) / np.pi,
            (0.202, -6.2e-6, 1204, -181),
            ((0.1, -1e-5, 1000, -100), (0.2, -5e-6, 1200, -150)),
            line(-4000, 4000, 25),
        ),
        (
            "mgh09",
            lambda p, t: p[0] * (t**2 + t * p[1]) / (t**2 + t * p[2] + p[3]),
            (0.193, 0.191, 0.123, 0.136),
            ((25, 39, 41.5, 39), (0.25, 0.39, 0.415, 0.39)),
            line(0.06, 4, 11),
        ),
        (
            "thurber",
            lambda p, t: (p[0] + p[1] * t + p[2] * t**2 + p[3] * t**3) / (1 + p[4] * t + p[5] * t**2 + p[6] * t**3),
            (1288, 1491, 583, 75.4, 0.966, 0.398, 0.0497),
            ((1000, 1000, 400, 40, 0.7, 0.3, 0.03), (1300, 1500, 500, 75, 1, 0.4, 0.05)),
            line(-3, 2.2, 37),
        ),
        (
            "boxbod",
            lambda p, t: p[0] * (1 - exp(-p[1] * t)),
            (213.8, 0.547),
            ((1, 1), (100, 0.75)),
            np.array([1.0, 2, 3, 5, 7, 10]),
        ),
        (
            "rat42",
            lambda p, t: p[0] / (1 + exp(p[1] - p[2] * t)),
            (72.5, 2.62, 0.067),
            ((100, 1, 0.1), (75, 2.5, 0.07)),
            line(9, 79, 9),
        ),
        (
            "rat43",
            lambda p, t: p[0] / (1 + exp(p[1] - p[2] * t)) ** (1 / p[3]),
            (699.6, 5.28, 0.76, 1.28),
            ((100, 10, 1, 1), (700, 5, 0.75, 1.3)),
            line(1, 15, 15),
        ),
        (
            "eckerle",
            lambda p, t: p[0] / p[1] * exp(-0.5 * ((t - p[2]) / p[1]) ** 2),
            (1.55, 4.09, 451.5),
            ((1, 10, 500), (1.5, 5, 450)),
            line(400, 500, 35),
        ),
        (
            "bennett",
            lambda p, t: p[0] * (p[1] + t) ** (-1 / p[2]),
            (-2523, 46.7, 0.93),
            ((-2000, 50, 0.8), (-1500, 45, 0.85)),
            line(7, 52, 50),
        ),
        (
            "hill",
            lambda p, t: p[0] * t ** p[1] / (p[2] ** p[1] + t ** p[1]) + p[3],
            (4, 2.4, 1.7, 0.3),
            ((1, 1, 1, 0), (6, 1.5, 3, 1)),
            line(0.1, 8, 20),
        ),
        (
            "damped cosine",
            lambda p, t: p[0] * exp(-p[1] * t) * np.cos(p[2] * t + p[3]) + p[4],
            (2, 0.35, 4, 0.5, 1),
            ((1, 0.2, 4.4, 0, 0.5), (3, 0.6, 3.7, 1, 0)),
            line(0, 6, 50),
        ),
        ("reaction", _reaction, (1.2, 0.4, 0.7), ((0.5, 0.5, 0.5), (3, 1, 0.2)), line(0.1, 6, 25)),
        (
            "three peaks",
            _peaks,
            (1, 1, 0.4, 2, 2.2, 0.5, 0.7, 3.6, 0.3),
            ((1, 1.2, 0.5, 1, 2, 0.5, 1, 3.4, 0.5), (0.5, 0.8, 0.3, 1.5, 2.5, 0.7, 0.5, 3.7, 0.2)),
            line(0, 5, 60),
        ),
        ("conduction", _conduction, wave, (np.zeros(8), np.full(8, 0.5)), line(0, 1, 3)),
        ("conduction, fine", _conduction, np.sin(line(0, 5, 20)), (np.zeros(20), np.full(20, -0.4)), line(0, 1, 3)),
    ]
