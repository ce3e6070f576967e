"""The number of evaluations that a method of several rounds may still ask for, shared by all its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfd.differentiation.method import Request

UNLIMITED = 2**62


@dataclass
class Budget:
    """Evaluations that may still be asked for.

    A method makes a new budget each time it runs from its start, so it stays a pure function of the values.

    Attributes
    ----------
    left : int
        Number of evaluations that are left.
    reserved : int
        Number of those that are reserved for later use.
    short : bool
        Whether points were left out because too few evaluations were left.
    """

    left: int = UNLIMITED
    reserved: int = 0
    short: bool = False

    @property
    def free(self) -> int:
        """Number of evaluations that may be asked for now."""
        return max(0, self.left - self.reserved)

    def affords(self, evaluations: int) -> bool:
        """Whether this many evaluations may be asked for now. If not, ``short`` is set: something is left out."""
        enough = evaluations <= self.free
        self.short |= not enough
        return enough

    def spend(self, request: Request) -> Request:
        """Takes the request's evaluations from the budget and returns the request."""
        self.left -= len(request.points)
        return request
