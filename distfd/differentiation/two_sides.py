"""Compares J's slopes on the two sides of x, near it and farther away: for a smooth J they come together near x."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PAIR = 0.01
"""Two points are a pair if their distances from x differ by no more than this part."""
_ROUND_OFF = 100.0
"""Changes of J by no more than this many units in its last place are round-off."""
_WORTH = 0.05
"""A kink is worth a word if the slopes on its two sides differ by more than this part of the larger one."""


def one_sided_slopes(offsets: Floats, rises: Floats) -> tuple[Floats, Floats, Floats]:
    """The slopes on the two sides of x by each pair of points, the nearest pair first.

    Parameters
    ----------
    offsets : (a, n) ndarray
        Of the points along each coordinate.
    rises : (a, n, m) ndarray
        J there minus J at x.

    Returns
    -------
    size : (a, n // 2) ndarray
        The distance of each pair; NaN for a coordinate whose points are no pairs, as beside a bound.
    ahead, behind : (a, n // 2, m) ndarrays
    """
    n = offsets.shape[1]
    order = np.argsort(offsets, axis=1)
    t, moved = np.take_along_axis(offsets, order, axis=1), np.take_along_axis(rises, order[..., None], axis=1)
    half = n // 2
    back, forth = t[:, :half][:, ::-1], t[:, n - half :]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        slopes = moved / t[..., None]
        paired = (n % 2 == 0) & (np.abs(forth + back) <= _PAIR * forth).all(axis=1) & (forth > 0).all(axis=1)
    size = np.where(paired[:, None], forth, np.nan)
    return size, slopes[:, n - half :], slopes[:, :half][:, ::-1]


def sharp_bends(offsets: Floats, rises: Floats, baseline: Floats) -> Floats:
    """How far the slopes at the nearest points on both sides of x are from their mean, where J has a kink there.

    The difference of the slopes of a smooth J is twice as large at twice the distance. That of a J with a kink, a jump
    or shapes that are smaller than the distance of the points is not.

    Parameters
    ----------
    offsets : (a, n) ndarray
        Of the points along each coordinate, n >= 4.
    rises : (a, n, m) ndarray
        J there minus J at x.
    baseline : (m,) ndarray
        J at x.

    Returns
    -------
    (a, m) ndarray
        0 where J is smooth, or has no such points.
    """
    size, ahead, behind = one_sided_slopes(offsets, rises)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        near, far = np.abs(ahead - behind)[:, 0], np.abs(ahead - behind)[:, -1]
        # Half way between what a smooth J shows, the inverse of the ratio, and a kink, 1.
        least = (1 + size[:, :1] / size[:, -1:]) / 2
        bent = near > least * far
        bent &= near > _WORTH * np.maximum(np.abs(ahead[:, 0]), np.abs(behind[:, 0]))
        bent &= near * size[:, :1] > _ROUND_OFF * np.spacing(np.abs(baseline))
    return np.where(bent, near / 2, 0.0)
