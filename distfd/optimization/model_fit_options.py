"""The options of the method "model" of `distfd.least_squares`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import real_array
from distfd.optimization.checked_options import check_noise, check_tolerances, options_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class ModelOptions:
    """The keys of ``options``, checked.

    Parameters
    ----------
    ftol, xtol, gtol : float
        As for scipy.optimize.least_squares.
    noise : float, optional
        The standard deviation of the noise in a residual, where it is known.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    ftol: float = 1e-8
    xtol: float = 1e-8
    gtol: float = 1e-8
    noise: float | None = None

    def __post_init__(self) -> None:
        check_tolerances({"ftol": self.ftol, "xtol": self.xtol, "gtol": self.gtol})
        check_noise(self.noise)


def chosen_for_model(options: Mapping[str, Any], tolerance: float | None) -> ModelOptions:
    """The options that the user gave, with defaults for the others.

    Raises
    ------
    InputError
        If an option is not one of `ModelOptions`.
    """
    common = {} if tolerance is None else dict.fromkeys(("ftol", "xtol", "gtol"), tolerance)
    return options_of(ModelOptions, "a fit by model", options, common)


def typical_sizes_of(x0: NDArray[np.float64], x_scale: Any) -> NDArray[np.float64]:
    """Sizes > 0 by which displacements are measured, (d,): ``x_scale``, by default |x0| (1 where that is 0).

    Raises
    ------
    InputError
        If x_scale is not a number or an array of numbers.
    """
    default = np.where(x0 != 0, np.abs(x0), 1.0)
    if isinstance(x_scale, str):
        raise InputError(
            f"x_scale: the method model takes typical sizes of the variables, a number or (d,), and by default "
            f"those of x0 (was {x_scale!r})"
        )
    try:
        given = real_array(x_scale)
        sizes = np.broadcast_to(given, x0.shape)
    except ValueError:
        raise InputError(f"x_scale: must be a number or {len(x0)} of them (was {x_scale!r})") from None
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(f"x_scale: must be > 0 (was {x_scale!r})")
    return default if given.ndim == 0 and given == 1 else np.array(sizes)
