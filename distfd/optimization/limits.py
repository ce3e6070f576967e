"""Limits at which an optimisation stops before its method ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.quantities import in_seconds
from distfd.core.unknown_keywords import answers_misuse_of_fields
from distfd.core.validation import is_number, is_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AWAY = 1e15
"""Distance, in units of max(1, abs(x0)), beyond which x has run away: a differencing step there is some 1e7 in these
units."""


@answers_misuse_of_fields
@dataclass(frozen=True)
class Limits:
    """When to stop before the method itself would.

    Parameters
    ----------
    max_iterations : int, optional
        Iterations of the method.
    max_evaluations : int, optional
        Evaluations of J, those for gradients and those known from the store included; looked at after each value and
        each gradient.
    target : float, optional
        A value of J (for least squares: a cost) that is good enough; looked at once the gradient there is known.
    tolerance : float, optional
        SciPy's ``tol``.
    max_wall_time : float, optional
        Seconds of this session; looked at after each value and each gradient.

    Raises
    ------
    InputError
        If one of them makes no sense.
    """

    max_iterations: int | None = None
    max_evaluations: int | None = None
    target: float | None = None
    tolerance: float | None = None
    max_wall_time: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_iterations", "max_evaluations"):
            given = getattr(self, name)
            if given is not None and not (is_whole(given) and given > 0):
                raise InputError(f"{name}: must be a whole number > 0 (was {given!r})")
        for name in ("tolerance", "max_wall_time"):
            given = getattr(self, name)
            if given is not None and not (is_number(given) and given > 0):
                hint = in_seconds(given) if name == "max_wall_time" else ""
                raise InputError(f"{name}: must be > 0 (was {given!r}){hint}")
        if self.target is not None and not is_number(self.target):
            raise InputError(f"target: must be a number (was {self.target!r})")

    def used_up(self, evaluations: int, seconds: float) -> str:
        """That no more evaluations or no more time are allowed, in words; empty if both still are."""
        if self.max_evaluations is not None and evaluations >= self.max_evaluations:
            return f"max_evaluations of {self.max_evaluations} reached"
        if self.max_wall_time is not None and seconds >= self.max_wall_time:
            return f"max_wall_time of {self.max_wall_time:g} s reached"
        return ""


class Stop(Exception):  # noqa: N818  # it ends a method's loop in good order and is no error
    """A limit was reached; ``reached`` says whether that was the aim, such as a target value."""

    def __init__(self, text: str, *, reached: bool = False) -> None:
        super().__init__(text)
        self.reached = reached


def ran_away_text(named: str) -> str:
    """That x runs away; ``named`` is what is minimised, as in a sentence."""
    return f"x grows without limit while {named} decreases: {named} may have no minimum; give bounds"


def ran_away(x0: NDArray[np.float64], x: NDArray[np.float64], free: NDArray[np.bool_]) -> bool:
    """Whether a variable that no bound holds is so far from x0 that J seems to have no minimum."""
    return bool((np.abs(x) > _AWAY * np.maximum(1.0, np.abs(x0)))[free].any())
