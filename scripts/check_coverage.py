"""How often the 95 % intervals of a fit hold the truth: simulated data sets of five models, through distfd itself.

``python scripts/check_coverage.py [--sets 200] [--seed 1]`` prints a line for each model and one for all.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """A model with true parameters, where it is measured, and how noisy that is."""

    name: str
    model: Callable[[Floats, Floats], Floats]
    truth: tuple[float, ...]
    at: Floats
    sigma: float

    def holds(self, rng: np.random.Generator, *, known: bool = False, **options: Any) -> NDArray[np.bool_]:
        """(d,): whether each parameter's interval, by a fit to one data set, has the truth in it."""
        truth = np.array(self.truth)
        data = self.model(self.at, truth) + self.sigma * rng.standard_normal(len(self.at))
        start = truth * rng.uniform(0.9, 1.1, len(truth))
        unit = self.sigma if known else 1.0
        found: Any = distfd.least_squares(
            lambda p: (self.model(self.at, p) - data) / unit, start, executor="serial", **options
        )
        ends = found.confidence_intervals(0.95)
        return np.asarray((ends[:, 0] <= truth) & (truth <= ends[:, 1]))


MODELS = (
    Simulated(
        "exponential decay and offset",
        lambda t, p: p[0] * np.exp(-p[1] * t) + p[2],
        (2.0, 0.8, 0.4),
        np.linspace(0, 5, 25),
        0.05,
    ),
    Simulated(
        "Hill curve",
        lambda t, p: p[0] * t ** p[2] / (p[1] ** p[2] + t ** p[2]),
        (1.5, 3.0, 2.0),
        np.linspace(0.5, 12, 20),
        0.03,
    ),
    Simulated(
        "logistic growth",
        lambda t, p: p[0] / (1 + np.exp(-p[1] * (t - p[2]))),
        (10.0, 1.2, 4.0),
        np.linspace(0, 9, 18),
        0.3,
    ),
    Simulated(
        "damped cosine",
        lambda t, p: p[0] * np.exp(-p[1] * t) * np.cos(p[2] * t + p[3]),
        (1.0, 0.25, 3.0, 0.5),
        np.linspace(0, 6, 40),
        0.08,
    ),
    Simulated(
        "peak on a line",
        lambda t, p: p[0] * np.exp(-0.5 * ((t - p[1]) / p[2]) ** 2) + p[3] + p[4] * t,
        (3.0, 5.0, 0.7, 1.0, 0.1),
        np.linspace(0, 10, 50),
        0.15,
    ),
)


def coverage(sets: int, seed: int, **options: Any) -> dict[str, NDArray[np.bool_]]:
    """For each model, (sets, d): whether the interval of each parameter holds its truth."""
    found = {}
    for number, each in enumerate(MODELS):
        rng = np.random.default_rng([seed, number])
        found[each.name] = np.array([each.holds(rng, **options) for _ in range(sets)])
    return found


def main() -> None:
    """Print a line for each model, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--method", default="trf")
    given = parser.parse_args()
    found = coverage(given.sets, given.seed, method=given.method)
    for name, held in found.items():
        by_parameter = ", ".join(f"{100 * share:.1f}" for share in held.mean(axis=0))
        print(f"{name:30} {100 * held.mean():5.1f} %  (by parameter: {by_parameter})")
    whole = np.concatenate([held.ravel() for held in found.values()])
    print(f"{'all':30} {100 * whole.mean():5.1f} %  of {len(whole)} intervals")


if __name__ == "__main__":
    main()
