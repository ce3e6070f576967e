"""Constraints: SciPy's own kinds, and further outputs of the evaluation that gives J."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import real_array
from distfd.optimization.seen_point import Seen
from distfd.optimization.slope_evidence import SlopeEvidence, noise_of_slopes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.optimization.advice import Advice
    from distfd.results.derivative_result import DerivativeResult

    Vector = NDArray[np.float64]

_NEAR, _CLEAR = 1e-4, 10.0
"""A constraint holds x if its value is this near to a limit, relative to max(1, abs(limit)), or nearer than this many
standard deviations of its noise."""

_BROKEN = 1e-3
"""Part of the largest output by which limits may be missed at an end: noise and methods' tolerances are less."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Constraints that J's own evaluation gives: fun returns [J, c_1, ... c_m], and lower <= c <= upper is to hold.

    One evaluation then serves the objective and all constraints, and one wave all their derivatives.

    Parameters
    ----------
    lower, upper : float or (m,) array
        Infinite where there is no limit; equal for an equation.

    Raises
    ------
    InputError
        If there is no such c.
    """

    lower: ArrayLike = -np.inf
    upper: ArrayLike = np.inf

    def __post_init__(self) -> None:
        try:
            lower, upper = (real_array(limit) for limit in (self.lower, self.upper))
        except ValueError as error:
            given = f"{self.lower!r} and {self.upper!r}: {error}"
            raise InputError(f"constraints: lower and upper must be numbers, or arrays of them (was {given})") from None
        if lower.ndim > 1 or upper.ndim > 1 or np.isnan(lower).any() or np.isnan(upper).any():
            raise InputError("constraints: lower and upper are numbers, or one-dimensional arrays of them")
        if lower.ndim and upper.ndim and lower.shape != upper.shape:
            raise InputError(f"constraints: there are {lower.size} lower limits and {upper.size} upper ones")
        if np.any(lower > upper):
            raise InputError("constraints: a lower limit is above its upper one")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def are_broken(self, c: Vector) -> bool:
        """Whether the worst of (m,) values is beyond its limits by more than noise and a method's tolerance explain."""
        return _is_much(self.violation(c), c)

    def violation(self, c: Vector) -> float:
        """How far the worst of (m,) values is from its limits; 0 where all are kept.

        Raises
        ------
        InputError
            If there is another number of limits.
        """
        for limit in (np.asarray(self.lower), np.asarray(self.upper)):
            if limit.ndim and limit.size != len(c):
                raise InputError(
                    f"constraints: there are limits for {limit.size} outputs, but J returned {len(c)} after its "
                    "first number"
                )
        if not len(c):
            raise InputError("constraints: J returned one number; with Outputs it must return [J, c_1, ... c_m]")
        return worst(c, self.lower, self.upper)


def worst(c: Any, lower: Any, upper: Any) -> float:
    """The largest amount by which a value is outside its limits."""
    with np.errstate(invalid="ignore"):
        return float(np.maximum(np.maximum(np.asarray(lower) - c, c - np.asarray(upper)), 0.0).max(initial=0.0))


def split(constraints: Any) -> tuple[Outputs | None, list[Any]]:
    """The Outputs among the constraints, if any, and SciPy's own constraints.

    Raises
    ------
    InputError
        If there are several Outputs, or a constraint is of no kind that SciPy has.
    """
    given = list(constraints) if isinstance(constraints, (list, tuple)) else [constraints]
    for each in given:
        if not isinstance(each, Outputs) and not _is_scipys(each):
            raise InputError(
                "constraints: must be a distfd.Outputs, SciPy's LinearConstraint and NonlinearConstraint, or "
                f"dictionaries with type (eq or ineq) and fun (was {each!r})"
            )
    outputs = [each for each in given if isinstance(each, Outputs)]
    if len(outputs) > 1:
        raise InputError("constraints: give one Outputs with the limits of all outputs (there were several)")
    return (outputs[0] if outputs else None), [each for each in given if not isinstance(each, Outputs)]


def _is_scipys(constraint: Any) -> bool:
    if isinstance(constraint, dict):
        return str(constraint.get("type")).lower() in ("eq", "ineq") and callable(constraint.get("fun"))
    kind = hasattr(constraint, "A") or callable(getattr(constraint, "fun", None))
    return kind and hasattr(constraint, "lb") and hasattr(constraint, "ub")


def given_violation(constraints: Sequence[Any], x: Vector) -> float:
    """The largest violation of SciPy's constraints at x; this calls their functions, which are cheap."""
    return max((_violation(each, x) for each in constraints), default=0.0)


def are_given_broken(constraints: Sequence[Any], x: Vector) -> bool:
    """Whether one of SciPy's constraints is missed at x by more than noise and a method's tolerance explain."""
    found = [_limited(each, x) for each in constraints]
    return any(_is_much(worst(c, lower, upper), c) for c, lower, upper in found)


def _is_much(violation: float, c: Vector) -> bool:
    return violation > _BROKEN * max(1.0, float(np.abs(c).max()))


def _violation(constraint: Any, x: Vector) -> float:
    return worst(*_limited(constraint, x))


def _limited(constraint: Any, x: Vector) -> tuple[Vector, Any, Any]:
    """The values (m,) of one of SciPy's constraints at x, and their limits."""
    if isinstance(constraint, dict):
        c = np.atleast_1d(constraint["fun"](x, *constraint.get("args", ())))
        return c, 0.0, 0.0 if constraint["type"].lower() == "eq" else np.inf
    c = np.atleast_1d(constraint.A @ x if hasattr(constraint, "A") else constraint.fun(x))
    return c, constraint.lb, constraint.ub


@dataclass(eq=False)
class OutputSlopes:
    """Whether outputs that are constraints changed between the points of a run as their slopes predicted.

    A method that is misled by noise in a constraint's slopes may stop anywhere on it, and report convergence.
    """

    outputs: Outputs
    _evidence: list[SlopeEvidence] = field(default_factory=list)
    _last: list[Seen] = field(default_factory=list)

    def see(self, x: Vector, result: DerivativeResult) -> None:
        """Takes in a point with its Jacobian, (1 + m, d)."""
        values, slopes = np.asarray(result.value)[1:], result.derivative[1:]
        if len(self._evidence) != len(values):
            self._evidence, self._last = [SlopeEvidence() for _ in values], []
        seen = [Seen(x, float(c), result, slope) for c, slope in zip(values, slopes, strict=True)]
        for evidence, now, before in zip(self._evidence, seen, self._last or seen, strict=True):
            evidence.value(x, now.value, [before])
            evidence.gradient(now)
        self._last = seen

    def doubt(self, result: DerivativeResult, free: NDArray[np.bool_], advice: Advice) -> str:
        """What is wrong with the slopes at the end of a constraint that holds x there; empty if nothing is."""
        if len(np.atleast_1d(result.value)) != 1 + len(self._evidence):
            return ""
        limits = [np.broadcast_to(limit, len(self._evidence)) for limit in (self.outputs.lower, self.outputs.upper)]
        for k, evidence in enumerate(self._evidence):
            evidence.close()
            c, slope = float(np.asarray(result.value)[1 + k]), result.derivative[1 + k]
            end, bars = Seen(self._last[k].x, c, result, slope), None if result.error is None else result.error[1 + k]
            found = noise_of_slopes(evidence, end, free, bars)
            if found is None:
                continue
            near = [abs(c - limit[k]) <= _NEAR * max(1.0, abs(limit[k])) + _CLEAR * found[0] for limit in limits]
            if any(near):
                return (
                    f"the slopes of constraint {k} (output {1 + k} of J) at the end are noise: it does not change as "
                    f"they predict. One of them is uncertain by about {found[1]:.2g}, as the constraint's noise is "
                    f"about {found[0]:.2g}, and the largest of them is {np.abs(slope[free]).max():.2g}. "
                    f"{advice.against_noise()}"
                )
        return ""


def as_scipy(outputs: Outputs, value: Callable[[Vector], Vector], jacobian: Callable[[Vector], Any]) -> list[Any]:
    """The outputs as SciPy's constraints, with equations separate from the rest, as SLSQP needs them."""
    from scipy.optimize import NonlinearConstraint

    lower, upper = np.asarray(outputs.lower), np.asarray(outputs.upper)
    equal = lower == upper
    if equal.all() or not equal.any():
        return [NonlinearConstraint(value, lower, upper, jac=jacobian)]
    lower, upper = np.broadcast_arrays(lower, upper)

    def part(rows: NDArray[np.int64]) -> Any:
        return NonlinearConstraint(lambda x: value(x)[rows], lower[rows], upper[rows], jac=lambda x: jacobian(x)[rows])

    return [part(np.flatnonzero(equal)), part(np.flatnonzero(~equal))]
