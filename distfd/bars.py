"""Formulas over probes of each coordinate, and the error bar of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.noise import Noise

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Probes:
    """What was evaluated along each coordinate, beside x itself.

    Attributes
    ----------
    offsets : (a, n) ndarray
        Realised offsets from x; NaN where a coordinate has no such probe.
    rises : (a, n, m) ndarray
        J there minus J(x); NaN where there is no value.
    """

    offsets: Floats
    rises: Floats

    def with_columns(self, offsets: Floats, rises: Floats) -> Probes:
        """More probes, in columns of their own."""
        return Probes(np.concatenate((self.offsets, offsets), axis=1), np.concatenate((self.rises, rises), axis=1))

    def slope(self, columns: Sequence[int]) -> Slope:
        """The derivative at 0 of the polynomial through x and the probes in these columns."""
        weights = np.zeros_like(self.offsets)
        picked = self.offsets[:, columns]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights[:, columns] = coefficients(picked) / picked
        return Slope(weights, _weigh(weights, self.rises))

    def curvature(self) -> Slope:
        """J'' from the first two columns: twice the second divided difference."""
        weights = np.zeros_like(self.offsets)
        one, two = self.offsets[:, 0], self.offsets[:, 1]
        weights[:, 0], weights[:, 1] = 2 / (one * (one - two)), -2 / (two * (one - two))
        return Slope(weights, _weigh(weights, self.rises))


@dataclass(frozen=True, eq=False)
class Slope:
    """A linear formula for each coordinate: weights (a, n) of the rises, and what it gives, (a, m)."""

    weights: Floats
    value: Floats

    def noise(self, noise: Noise) -> Floats:
        """The noise part of its bar, (a, m)."""
        return noise.part(self.weights, np.ones_like(self.weights))

    def __sub__(self, other: Slope) -> Slope:
        return Slope(self.weights - other.weights, self.value - other.value)


def _weigh(weights: Floats, rises: Floats) -> Floats:
    # A probe that a formula leaves out may lack a value, and 0 NaN is NaN.
    used = np.where(weights[..., None] == 0, 0.0, rises)
    with np.errstate(over="ignore", invalid="ignore"):
        total: Floats = (weights[..., None] * used).sum(axis=1)
    return total
