"""A point, checked, and all that the plan of a derivative there is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.describe import numbered, numbered_output
from distfd.core.errors import InputError
from distfd.core.records import DOUBLE
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.method import check_x, onto_bounds
from distfd.differentiation.placement import as_bounds
from distfd.differentiation.step_limits import NOTHING_KNOWN, Known
from distfd.evaluation.derivative_setting import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from distfd.evaluation.options import DerivativeOptions

_FEW = 10
"""Names that a message lists."""


@dataclass(frozen=True, eq=False)
class DerivativeContext:
    """What is the same at every x.

    Attributes
    ----------
    options : DerivativeOptions
    label : callable
        Number of a coordinate -> what messages call it.
    repair : bool
        Whether components whose points have no value are formed from others.
    drifts : bool
        Whether J(x) starts from another state than the points beside it do.
    check : bool or None
        Whether derivatives are held against J at points more; see `Setting`.
    rides : bool
        Whether those may depend on the slots that there are.
    written : callable or None
        Of objectives that write x as text: the numbers that are then in it.
    printed : bool
        Whether J's values are read from text.
    output : callable
        Number of an output of J, and how many there are -> what messages call it.
    """

    options: DerivativeOptions
    label: Callable[[int], str]
    repair: bool
    drifts: bool
    written: Any
    printed: bool = False
    check: bool | None = None
    rides: bool = True
    output: Callable[[int, int], str] = numbered_output

    def setting(self, x: ArrayLike, bits: int = DOUBLE, known: Known = NOTHING_KNOWN) -> Setting:
        """What every method at x is made from; see `Setting` for what J has shown so far."""
        return Setting(
            self.site(x), self.options, self.repair, self.drifts, bits, self.printed, known, self.check, self.rides
        )

    def site(self, x: ArrayLike) -> BasePoint:
        """The point checked, and its surroundings.

        Raises
        ------
        InputError
            If x is not finite, outside the bounds, or of another length than the names.
        """
        names = self.options.names
        at = check_x(x, label=self.label if names is None or len(names) == np.size(np.asarray(x)) else numbered)
        if names is not None and len(names) != len(at):
            named = ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")
            raise InputError(f"names: there are {len(names)} for {len(at)} coordinates ({named})")
        lower, upper = as_bounds(self.options.bounds, len(at), at)
        at = check_x(onto_bounds(at, lower, upper), lower, upper, self.label)
        return BasePoint(at, lower, upper, self.label, self.written, self.output)
