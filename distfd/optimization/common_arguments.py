"""What `minimize` and `least_squares` are both given: the session, x0 and bounds, limits and slots, all checked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import is_whole
from distfd.differentiation.method import check_x, onto_bounds
from distfd.evaluation.evaluator import Evaluator
from distfd.optimization.history import Record
from distfd.optimization.limits import Limits
from distfd.optimization.optimization_run import can_be_called

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOLERANCE = "give limits=distfd.Limits(tolerance=...)"
_OPTION = "give it in options"
_DIFFERENCES = "derivatives are distfd's differences, see scheme and step"
INSTEAD = {
    "tol": _TOLERANCE,
    **dict.fromkeys(("ftol", "xtol", "gtol", "max_nfev", "tr_solver", "tr_options"), _OPTION),
    **dict.fromkeys(("jac", "hess", "hessp"), _DIFFERENCES),
    "jac_sparsity": "give sparsity",
}
"""Replacements for arguments of SciPy that distfd does not have."""

XTOL = 1e-8
"""Relative change of x that is negligible where no tolerance is given."""
FIT_GTOL = 1e-8
"""Default gradient tolerance of SciPy's least_squares."""
FIT_FTOL = 1e-6
"""Relative decrease of a fit's cost that is negligible where no tolerance is given."""


@contextlib.contextmanager
def session_of(fun: Any, bounds: Any, options: Mapping[str, Any]) -> Any:
    """The given Evaluator, or a new one for this call; derivatives are checked only if the user asks for it.

    So the points of an optimisation do not depend on the number of free slots.
    """
    if isinstance(fun, Evaluator):
        if options:
            raise InputError(f"{min(options)}: is an option of the Evaluator; give it where you make the Evaluator")
        with fun.checked(fun.check):
            yield fun
        return
    for name in INSTEAD.keys() & options.keys():
        raise InputError(f"{name}: is an option of SciPy that does not exist here; {INSTEAD[name]}")
    with Evaluator(fun, bounds=bounds, **options) as made, made.checked(made.check):
        yield made


def checked_start(session: Evaluator, x0: Any, bounds: tuple[Any, Any]) -> tuple[Any, tuple[Any, Any]]:
    """The start x0 and the bounds, also those of the Evaluator; round-off of x0 past a bound is removed.

    Raises
    ------
    InputError
        If x0 is further outside.
    """
    site = session.setting(onto_bounds(x0, *bounds)).site
    lower, upper = np.maximum(site.lower, bounds[0]), np.minimum(site.upper, bounds[1])
    return check_x(onto_bounds(site.x, lower, upper), lower, upper, site.label), (lower, upper)


def check_slots(slots: Any) -> None:
    """See that ``slots`` is a number of evaluations, or None."""
    if slots is not None and not (is_whole(slots) and slots >= 1):
        raise InputError(f"slots: must be a whole number >= 1, or None (was {slots!r})")


def record_of(limits: Limits | None, callback: Callable[..., Any] | None, measure: str = "J") -> Record:
    """The record of a run that begins, with its limits; a callback that cannot be called is refused here.

    ``measure`` is what is minimised: "J", or "cost" in a fit.
    """
    if limits is not None and not isinstance(limits, Limits):
        raise InputError(f"limits: must be a distfd.Limits or None (was {limits!r})")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: must be callable or None (was {callback!r})")
    if callback is not None and not can_be_called(callback):
        raise InputError(
            "callback: must take x, or x and a state, or one argument that is called intermediate_result or event (was "
            f"{callback!r})"
        )
    return Record(limits or Limits(), measure)
