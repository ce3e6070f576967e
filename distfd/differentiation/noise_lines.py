"""Lines of points through x along seeded directions, inside the bounds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.noise import LINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MOST = 1000
"""Coordinates that a direction moves: with d = 1,000,000 a line must not be 7 dense copies of x."""


def direction(x: Floats, scale: Floats, lower: Floats, upper: Floats, lane: int) -> tuple[NDArray[np.int64], Floats]:
    """Coordinates that move, and how much for a spacing of 1: of length 1 against ``scale``, and into the bounds.

    The seed is x itself and ``lane``, so that the same x has the same points whenever it is asked.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=8).digest()
    rng = np.random.default_rng([int.from_bytes(digest, "little"), lane])
    moving = np.flatnonzero(lower != upper)
    if len(moving) > _MOST:
        moving = np.sort(rng.choice(moving, _MOST, replace=False))
    # Uneven parts keep x + i h p off the round numbers at which J's values have few digits by chance.
    size = rng.uniform(0.5, 1.0, len(moving)) * rng.choice([-1.0, 1.0], len(moving))
    at, low, high = x[moving], lower[moving], upper[moving]
    reach = scale[moving] / np.sqrt(max(1, len(moving)))
    # A line leads away from x: where it would soon leave the bounds it turns to the side that has more room.
    side = np.where(size > 0, high - at, at - low)
    turned = np.where((side < reach) & (np.maximum(high - at, at - low) > side), -size, size)
    return moving, turned * reach


def line_points(
    x: Floats, scale: Floats, lower: Floats, upper: Floats, spacings: Sequence[tuple[int, float]]
) -> Points:
    """Points 1 .. LINE - 1 of a line for each (lane, spacing); x, which is point 0 of them all, is not among them.

    A coordinate that lacks the room for its part moves by less, so that the points stay equally spaced.
    """
    indices, values, counts = [], [], []
    steps = np.arange(1, LINE)[:, None]
    for lane, spacing in spacings:
        moving, towards = direction(x, scale, lower, upper, lane)
        at, low, high = x[moving], lower[moving], upper[moving]
        room = np.where(towards > 0, high - at, at - low) / (LINE - 1)
        move = np.copysign(np.minimum(np.abs(towards) * spacing, room), towards)
        indices.append(np.tile(moving, LINE - 1))
        values.append(np.clip(at + steps * move, low, high).ravel())
        counts += [len(moving)] * (LINE - 1)
    return Points(x, np.cumsum([0, *counts]), np.concatenate(indices), np.concatenate(values))
