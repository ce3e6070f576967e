"""A second search from x0, where the first has come to a place at which variables have no influence on the residuals.

Examples are a peak that was moved out of the data's range, and a rate so large that a curve has ended before the first
datum. The cost may be lower there than at x0, and no step leads away. What the first search took for the sizes of the
variables has led there, or its long steps have; so the second takes other sizes, or shorter steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.optimization.model_fit import ModelSearch, Room

    Floats = NDArray[np.float64]

_LOST = 1e-2
"""A variable has lost its influence if a typical displacement changes the residuals by less than this part of what it
did at another place, both relative to the residuals there."""
_NONE = 1e-6
"""Below this part it has none at all."""
_STALLED = 1e-2
"""The first search goes on alone while a round lowers the cost by this part of it."""
_FITTED = 1e-3
"""The model foretells a decrease by less than this part of the cost where all variables that have influence fit."""
_LIKE = 2.0
"""Variables whose typical sizes differ by less than this factor have one size already."""
_SHORTER = 0.1
"""The first radius of a second search with the same sizes, as a part of that of the first; it has one trial a round."""
_POINTS = 30
"""The second search ends after this many evaluations for each variable and one more, if it has no lower cost by then;
a round of several evaluations counts as one evaluation for each variable and one more at most."""


@dataclass(eq=False)
class SecondSearch:
    """The search that goes on: the first, and for a time a second one from x0.

    Attributes
    ----------
    search : ModelSearch
        The one whose trials come next.
    waiting : ModelSearch or None
        The first search, while a second one has no lower cost.
    """

    search: ModelSearch
    waiting: ModelSearch | None = None
    _most: Floats | None = None
    _begun: bool = False
    _points: int = 0
    _cost: float = np.inf
    _one: bool = False
    """Whether the second search has one trial a round."""

    def room(self, room: Room) -> Room:
        """The part of a round's room that the search is to fill."""
        if self.waiting is None or not self._one:
            return room
        return replace(room, slots=min(room.slots, room.jacobian))

    def noted(self, points: int, *, moved: bool) -> bool:
        """Takes note of a round of so many evaluations; whether it has led to the lowest cost so far."""
        search, before = self.search, self._cost
        self._cost = search.cost
        if self.waiting is None:
            stalled = before - search.cost < _STALLED * before
            if not self._begun and self._is_flat() and stalled:
                self._begin()
            return moved
        if search.cost < self.waiting.cost:
            self.waiting = None
            return moved
        each = int((search.lower < search.upper).sum()) + 1
        self._points += min(points, each)
        if self._points > _POINTS * each:
            self._give_up()
        return False

    def begins_at_the_end(self) -> bool:
        """Whether a second search begins, now that the first has converged."""
        if self._begun or not self._is_flat():
            return False
        self._begin()
        return True

    def ended(self, *, stuck: bool) -> bool:
        """Whether it was a second search with a higher cost that has ended, so that the first goes on."""
        if self.waiting is None or not (stuck or self.search.converged):
            return False
        self._give_up()
        return True

    def _begin(self) -> None:
        first = self.search
        sizes = first.typical[first.lower < first.upper]
        if sizes.max() > _LIKE * sizes.min():
            second = first.again(np.full(len(first.x), np.exp(np.mean(np.log(sizes)))), 1.0)
        else:
            second, self._one = first.again(first.typical, _SHORTER), True
        self.search, self.waiting, self._begun = second, first, True

    def _give_up(self) -> None:
        assert self.waiting is not None, "only a second search is given up"
        self.search, self.waiting = self.waiting, None

    def _is_flat(self) -> bool:
        """Whether all variables have lost most of the influence that they had elsewhere.

        Or one of them all of it, where the others have been fitted: before that it may come back. Where the residuals
        vanish nothing is to be found elsewhere.
        """
        if self.search.cost == 0:
            return False
        influence = self.search.influence()
        self._most = influence if self._most is None else np.maximum(self._most, influence)
        free = self.search.lower < self.search.upper
        most = self._most[free]
        known = (most > 0) & np.isfinite(most)  # where the residuals vanish, nothing can be told
        part = np.where(known, influence[free] / np.where(known, most, 1.0), 1.0)
        fitted = self.search.foretold < _FITTED * self.search.cost
        return bool((part < _LOST).all() or (fitted and (part < _NONE).any()))
