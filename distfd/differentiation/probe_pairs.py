"""Pairs of points around x at several distances, for each coordinate, and the slopes that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise

    Floats = NDArray[np.float64]

_CLOSE = 1.2
"""Two pairs can be compared only if their distances differ by more than this factor."""


@dataclass(frozen=True, eq=False)
class Slopes:
    """Results of g formulas for ``a`` coordinates and m outputs: (g, a, m) each, (g, a) for ``size``; NaN for none.

    Attributes
    ----------
    value : ndarray
        The derivative.
    noise : ndarray
        The noise part of the derivative's error bar.
    deviation : ndarray
        The standard deviation of the derivative's noise.
    truncation : ndarray
        Distance from the value that the next larger pair corrects it to.
    doubt : ndarray
        The standard deviation of ``truncation``.
    size : ndarray
        The distance of the pair from x; of two pairs, that of the smaller.
    """

    value: Floats
    noise: Floats
    deviation: Floats
    truncation: Floats
    doubt: Floats
    size: Floats

    def take(self, formula: NDArray[np.int64]) -> Slopes:
        """One formula for each coordinate and output, (a, m): arrays (1, a, m), with the size of the first output's."""

        def pick(part: Floats) -> Floats:
            return np.take_along_axis(part, formula[None], axis=0)

        size = np.take_along_axis(self.size, formula[None, :, 0], axis=0)
        return Slopes(
            pick(self.value), pick(self.noise), pick(self.deviation), pick(self.truncation), pick(self.doubt), size
        )


@dataclass(frozen=True, eq=False)
class ProbePairs:
    """Pairs of ``a`` coordinates, in rising order of size; where a coordinate has fewer pairs, NaN fills the end.

    Near a bound a "pair" is two points at h and 2 h on the same side; the code here treats both kinds alike.

    Attributes
    ----------
    size : (a, g) ndarray
    offsets : (a, g, 2) ndarray
    rises : (a, g, 2, m) ndarray
        J there minus J(x).
    """

    size: Floats
    offsets: Floats
    rises: Floats

    @property
    def count(self) -> NDArray[np.int64]:
        """How many pairs each coordinate has, (a,)."""
        return np.asarray(np.isfinite(self.size).sum(axis=1))

    def add(self, size: Floats, offsets: Floats, rises: Floats, *, partial: bool = False) -> ProbePairs:
        """Adds a pair, (a,), (a, 2) and (a, 2, m), with NaN for coordinates that get none.

        A pair is left out if it has no value, if its points coincide, or if it is next to an existing pair. A pair that
        lacks some of J's outputs is left out too, unless ``partial``: then these outputs are NaN.
        """
        with np.errstate(invalid="ignore"):
            near = ((self.size < _CLOSE * size[:, None]) & (size[:, None] < _CLOSE * self.size)).any(axis=1)
            apart = (offsets[:, 0] != offsets[:, 1]) & (offsets != 0).all(axis=1)
        whole = np.asarray(np.isfinite(rises).all(axis=1))
        good = (whole.any(axis=1) if partial else whole.all(axis=1)) & np.isfinite(size) & apart & ~near
        rises = np.where(whole[:, None], rises, np.nan)
        sizes = np.concatenate((self.size, np.where(good, size, np.nan)[:, None]), axis=1)
        order = np.argsort(sizes, axis=1, kind="stable")
        return ProbePairs(
            np.take_along_axis(sizes, order, axis=1),
            _sorted(self.offsets, np.where(good[:, None], offsets, np.nan), order),
            _sorted(self.rises, np.where(good[:, None, None], rises, np.nan), order),
        )

    def or_else(self, spare: ProbePairs) -> ProbePairs:
        """These pairs; a coordinate that has none gets the one of ``spare``, if there is any."""
        lone = (self.count == 0) & (spare.count > 0)
        if not lone.any():
            return self
        size = np.where(lone, spare.size[:, 0], np.nan)
        return self.add(size, spare.offsets[:, 0], spare.rises[:, 0], partial=True)

    def take(self, coordinates: NDArray[np.int64]) -> ProbePairs:
        """The pairs of some coordinates, given by their numbers among the ``a``."""
        return ProbePairs(self.size[coordinates], self.offsets[coordinates], self.rises[coordinates])

    def shifted(self, by: Floats) -> ProbePairs:
        """The same pairs for a J(x) that is larger by ``by``, (a, m)."""
        return ProbePairs(self.size, self.offsets, self.rises - by[:, None, None])

    def slopes(self, noise: Noise) -> Slopes:
        """Slopes by each pair, then by each pair together with the next larger one (fourth order).

        The truncation of a pair is its distance from the formula of both, which is Richardson's correction; the largest
        pair is compared with the next smaller one. The truncation of the formula of both is at least a tenth of that
        correction, and more where the slope changes between the pairs.
        """
        n = self.size.shape[1]
        single = [self._formula(g) for g in range(n)]
        double = [self._formula(g, g + 1) for g in range(n - 1)]
        found = []
        for g, (weights, value) in enumerate(single):
            unknown = np.full_like(value, np.nan)
            truncation, doubt = unknown, unknown
            for other in [double[g]] if g < n - 1 else []:
                truncation, doubt = np.abs(value - other[1]), noise.deviation(other[0] - _widened(weights, 0))
            for other in [double[g - 1]] if g else []:
                last = np.isnan(truncation)
                truncation = np.where(last, np.abs(value - other[1]), truncation)
                doubt = np.where(last, noise.deviation(other[0] - _widened(weights, 1)), doubt)
            found.append((value, weights, truncation, doubt, self.size[:, g]))
        for g, (weights, value) in enumerate(double):
            bend = self._bend(g, single[g][1], single[g + 1][1])
            truncation = found[g][2] * np.clip(2 * bend, 0.1, 1.0)
            found.append((value, weights, truncation, np.zeros_like(value), self.size[:, g]))
        return Slopes(
            value=np.array([f[0] for f in found]),
            noise=np.array([noise.part(f[1]) for f in found]),
            deviation=np.array([noise.deviation(f[1]) for f in found]),
            truncation=np.array([f[2] for f in found]),
            doubt=np.array([f[3] for f in found]),
            size=np.array([f[4] for f in found]),
        )

    def curvature(self, g: int, noise: Noise) -> tuple[Floats, Floats]:
        """J'' by pair g (twice the second divided difference), and its standard deviation, (a, m) both."""
        one, two = self.offsets[:, g, 0], self.offsets[:, g, 1]
        with np.errstate(over="ignore"):
            weights = np.stack((2 / (one * (one - two)), -2 / (two * (one - two))), axis=1)
        return (weights[..., None] * self.rises[:, g]).sum(axis=1), noise.deviation(weights)

    def _formula(self, *pairs: int) -> tuple[Floats, Floats]:
        """Weights and value of the derivative at 0 of the polynomial through x and the points of these pairs."""
        offsets = np.concatenate([self.offsets[:, g] for g in pairs], axis=1)
        rises = np.concatenate([self.rises[:, g] for g in pairs], axis=1)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            weights = coefficients(offsets) / offsets
            return weights, (weights[..., None] * rises).sum(axis=1)

    def _bend(self, g: int, near: Floats, far: Floats) -> Floats:
        """The change of the slope from pair g to the next, as a part of J's whole change there."""
        one, two = self.offsets[:, g, 0], self.offsets[:, g, 1]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            rise = (self.rises[:, g] / self.offsets[:, g, :, None] * np.array([[[1.0], [-1.0]]])).sum(axis=1)
            curvature = 2 * rise / (one - two)[:, None]
            return np.asarray(np.abs(far - near) / (np.abs(near) + np.abs(curvature) * self.size[:, g + 1, None]))


def no_pairs(coordinates: int, outputs: int) -> ProbePairs:
    """An empty set of pairs, to start from."""
    return ProbePairs(np.empty((coordinates, 0)), np.empty((coordinates, 0, 2)), np.empty((coordinates, 0, 2, outputs)))


def _sorted(there: Floats, new: Floats, order: NDArray[np.int64]) -> Floats:
    both = np.concatenate((there, new[:, None]), axis=1)
    return np.take_along_axis(both, order.reshape(order.shape + (1,) * (both.ndim - 2)), axis=1)


def _widened(weights: Floats, place: int) -> Floats:
    """The weights of one pair, placed at the first or second place among the weights of two."""
    wide = np.zeros((len(weights), 4))
    wide[:, 2 * place : 2 * place + 2] = weights
    return wide
