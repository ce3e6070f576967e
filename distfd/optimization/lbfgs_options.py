"""The options of the method "L-BFGS"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.core.validation import is_whole
from distfd.optimization.checked_options import check_noise, check_tolerances, options_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class LbfgsOptions:
    """The keys of ``options``, checked.

    Parameters
    ----------
    gtol, ftol : float
        As for SciPy's L-BFGS-B.
    maxiter : int
    maxcor : int
        Pairs of steps and changes of the gradient that each of two models uses. They are chosen from four and eight
        times as many, which takes up to (12 maxcor + 16) d numbers.
    noise : float, optional
        The standard deviation of the noise in J, where it is known. With it, or with step="auto", the method is the one
        for noisy J.
    trials : int, optional
        Largest number of gradients at once.

    Raises
    ------
    InputError
        If one of the values makes no sense.
    """

    gtol: float = 1e-5
    ftol: float = 2.220446049250313e-09
    maxiter: int = 15000
    maxcor: int = 40
    noise: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        check_tolerances({"gtol": self.gtol, "ftol": self.ftol})
        for name in ("maxiter", "maxcor", "trials"):
            given = getattr(self, name)
            if not (name == "trials" and given is None) and (not is_whole(given) or given < 1):
                raise InputError(f"options: {name} must be a whole number >= 1 (was {given!r})")
        check_noise(self.noise)


def chosen(options: Mapping[str, Any], tolerance: float | None) -> LbfgsOptions:
    """The options that the user gave, with defaults for the others.

    Raises
    ------
    InputError
        If an option is not one of `LbfgsOptions`.
    """
    common = {} if tolerance is None else {"gtol": tolerance, "ftol": tolerance}
    return options_of(LbfgsOptions, "L-BFGS", options, common)
