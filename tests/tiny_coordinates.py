"""Functions of coordinates that are so small that the default steps are too large for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def decay(p: Floats) -> float:
    return float(5 * (1 - np.exp(-1e-6 / (p[0] * p[1]))))


DECAY_X, DECAY_GRADIENT = [1e3, 1e-9], np.array([-5 * np.exp(-1) * 1e-3, -5 * np.exp(-1) * 1e9])


def saturation(p: Any) -> Any:
    return p[0] / (p[0] + 1e-8)


def steep(x: Floats) -> float:
    return float(np.sum((1e12 * x - 1) ** 2))
