"""Nominal steps h_k, before bounds and rounding have their say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from distfd.stencils import Stencil


@dataclass(frozen=True, eq=False)
class AbsoluteStep:
    """h itself, for all coordinates or (d,) for each; taken as it is, whatever the sign of x.

    Raises
    ------
    InputError
        If a step is not finite and > 0.
    """

    h: ArrayLike

    def __post_init__(self) -> None:
        check_positive("step", np.asarray(self.h, dtype=float))


Step = float | AbsoluteStep | None


def nominal_steps(
    x: NDArray[np.float64],
    stencil: Stencil,
    step: ArrayLike | AbsoluteStep | None = None,
    scale: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Signed steps h_k = r_k s_k sign(x_k), with sign(0) = +1; SciPy's, bit for bit, where nothing is given.

    Parameters
    ----------
    x : (d,) ndarray
    stencil : Stencil
        Its ``relative_step`` is r where ``step`` gives none.
    step : None, float, (d,) array or AbsoluteStep
        r; NaN in an array stands for None. An AbsoluteStep is h itself, with no sign.
    scale : None, float or (d,) array
        s, the typical size of each coordinate; where None or NaN, s = max(1, abs(x)) for a default r and abs(x) for a
        given one. A given r for which x + h == x in floating point gives way to the default, as in SciPy.

    Returns
    -------
    (d,) ndarray

    Raises
    ------
    InputError
        If a step or scale is not finite and > 0, or has the wrong length.
    """
    if isinstance(step, AbsoluteStep):
        return _spread("step", step.h, x).copy()
    sign = np.where(x >= 0, 1.0, -1.0)
    size = np.maximum(1.0, np.abs(x))
    given_scale = np.full(x.shape, np.nan) if scale is None else _spread("scale", scale, x)
    check_positive("scale", given_scale, allow_nan=True)
    has_scale = ~np.isnan(given_scale)
    # SciPy multiplies in this order; another one differs in the last bit.
    default = stencil.relative_step * sign * np.where(has_scale, given_scale, size)
    if step is None:
        return default
    given = _spread("step", step, x)
    check_positive("step", given, allow_nan=True)
    asked = given * sign * np.where(has_scale, given_scale, np.abs(x))
    unusable = np.isnan(given) | ((x + asked) - x == 0)
    return np.where(unusable, default, asked)


def check_positive(what: str, values: NDArray[np.float64], *, allow_nan: bool = False) -> None:
    """Raise InputError where a value is not finite and > 0."""
    bad = ~(np.isfinite(values) & (values > 0))
    if allow_nan:
        bad &= ~np.isnan(values)
    if np.any(bad):
        worst = np.atleast_1d(values)[np.atleast_1d(bad)][0]
        raise InputError(f"{what}: must be finite and > 0 (was {worst})")


def _spread(what: str, values: ArrayLike, x: NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim and array.shape != x.shape:
        raise InputError(f"{what}: needs one number or {len(x)}, one for each coordinate (had shape {array.shape})")
    return np.broadcast_to(array, x.shape)
