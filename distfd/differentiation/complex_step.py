"""The complex step: J'(x) ~ Im J(x + ih) / h, without subtraction (Squire & Trapp, SIAM Rev. 40, 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import EvaluationError
from distfd.core.records import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.method import Wave


def imaginary_step(x: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The numbers x + ih; a sum would lose the sign of a zero, and with it the point's identity."""
    moved = np.empty(np.broadcast_shapes(x.shape, h.shape), dtype=np.complex128)
    moved.real, moved.imag = x, h
    return moved


def check_imaginary_parts(wave: Wave) -> None:
    """Refuse a J that lost all imaginary parts: it casts to float, and every derivative would be exactly 0.

    One coordinate on which J does not depend has no imaginary part either, so the rule is over all complex points and
    all outputs.

    Raises
    ------
    EvaluationError
        If the wave has complex points with values, and no imaginary part but 0 among them.
    """
    seen = wave.request.points.imaginary & (wave.status == Status.OK)
    if seen.any() and not wave.values[seen].imag.any():
        raise EvaluationError(
            "complex-step: J gave no imaginary part at any of the complex points\n"
            "  why:   it casts x or its result to a real type (float, abs, .real); or every derivative is exactly 0, "
            "which cannot be told from that\n"
            "  to do: let J take complex x and return what it computes with it, or use another scheme (central)"
        )
