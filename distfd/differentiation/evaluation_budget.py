"""How many evaluations a method of several rounds may still ask for: one account that all of its rounds draw from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfd.differentiation.method import Request

UNLIMITED = 2**62


@dataclass
class Budget:
    """Evaluations that may still be asked for.

    A method makes its own when it is run from its start, so that it stays a pure function of the values.

    Attributes
    ----------
    left : int
        So many are there.
    reserved : int
        So many of them are for what comes later, and are not there for anything else.
    short : bool
        Whether something was left out, as there were too few.
    """

    left: int = UNLIMITED
    reserved: int = 0
    short: bool = False

    @property
    def free(self) -> int:
        """How many may be asked for now."""
        return max(0, self.left - self.reserved)

    def affords(self, evaluations: int) -> bool:
        """Whether so many may be asked for now; that something is left out if not is kept in ``short``."""
        enough = evaluations <= self.free
        self.short |= not enough
        return enough

    def spend(self, request: Request) -> Request:
        """The request, which is paid for."""
        self.left -= len(request.points)
        return request
