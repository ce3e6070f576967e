"""The result of a directional check: J at one further point, compared with what the derivative predicts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONSISTENT, DOUBTFUL, UNKNOWN = "consistent", "doubtful", "unknown"
"""The verdicts of a check."""

DOUBT = 0.03
"""A derivative is doubtful if its estimated relative error is above this. On 55 public test functions at 165 points
(forward differences, SciPy's steps, noise from 1e-12 to 1e-6 of J) this limit doubted 371 of 377 derivatives that were
off by more than 10 %, and 3 of 407 that were right within 2 %."""

_NAMED = 5
"""Number of coordinates that a sentence names; it gives the number of the others."""


@dataclass(frozen=True)
class Consistency:
    """Whether a derivative agrees with J at one point more (or a pair), moved along all coordinates at once.

    The point is x + v with v_k = u_k h_k, h_k the steps of the derivative and u_k of random sign and of a size between
    0.6 and 1.6, made from x's bits. The derivative predicts how much J changes from x to there; the residual is what it
    does not predict. Of several outputs, all numbers are those of the worst one.

    Attributes
    ----------
    verdict : str
        "consistent", "doubtful", or "unknown": the point has no value, or the derivative lacks components, or what the
        check's own differences lose to rounding leaves nothing to be told.
    error : float or None
        An estimate of the derivative's relative error: the norm of the errors of J's changes along the steps, over the
        norm of these changes. It rests on one residual, or on the larger of two, and is known within half a decade; it
        makes a doubt, and no error bar. None where the verdict is "unknown" for want of values.
    residual : float or None
        By how much J at the point differs from what the derivative says, in units of J.
    change : float or None
        The norm of J's changes along the steps, in units of J.
    rounding : float or None
        How large a residual the rounding of J's values to floating point explains.
    truncation : float or None
        How large a residual the check's own formula leaves of a smooth J, with the derivative's error bars where it has
        any; None where the values do not tell it (one step along each coordinate).
    noise : float or None
        The standard deviation of noise in J that would explain the residual.
    output : int or None
        The output of J that these numbers are of; None where J has one.
    coordinates : tuple of int
        The coordinates that are in doubt, where further points have told them (``check=True``).
    cause, remedy : str
        The likely cause of a doubt, and what to do; or why the verdict is "unknown".
    n_evaluations : int
        Check points that this call computed; the result's ``n_evaluations`` counts them too.
    output_label : str
        What messages call that output, "output cl", where outputs have names.
    """

    verdict: str
    error: float | None = None
    residual: float | None = None
    change: float | None = None
    rounding: float | None = None
    truncation: float | None = None
    noise: float | None = None
    output: int | None = None
    coordinates: tuple[int, ...] = ()
    cause: str = ""
    remedy: str = ""
    n_evaluations: int = 0
    output_label: str = ""

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        if self.verdict == UNKNOWN:
            return f"unknown: {self.cause}"
        return f"{self.verdict}: {self._numbers}" + (f"; likely cause: {self.cause}" if self.cause else "")

    @property
    def _numbers(self) -> str:
        where = "" if self.output is None else f" in {self.output_label or f'output {self.output}'}"
        if self.verdict == DOUBTFUL:
            return f"J at one more point is not what the derivative predicts{where}; it is off by {_share(self.error)}"
        return f"J at one more point is what the derivative predicts, within {_share(self.error)}{where}"

    def warning(self, label: Callable[[int], str]) -> str:
        """The doubt as a sentence for the user, by coordinate name; what varies from x to x stands at its end."""
        where = "" if self.output is None else f" in {self.output_label or f'output {self.output}'}"
        names = ", ".join(label(k) for k in self.coordinates[:_NAMED])
        if len(self.coordinates) > _NAMED:
            names += f" and {len(self.coordinates) - _NAMED} more"
        if names:
            names = f" along {'one of ' if len(self.coordinates) > 1 else ''}{names}"
        return (
            f"the derivative is in doubt{where}{names}: it does not predict J at one more point. "
            f"Likely cause: {self.cause}; to do: {self.remedy} (estimated error {_share(self.error)})"
        )


def _share(error: float | None) -> str:
    """A relative error as text for people."""
    if error is None:
        return "an unknown part"
    if not error < 10:
        return "more than its own size"
    return f"{100 * error:.2g} %" if error >= 1e-4 else f"{error:.1g} of it"
