"""Finds the coordinates that a doubt is about, by three further points in one round.

The method is group testing (Dorfman, Ann. Math. Stat. 14, 1943). Each group of coordinates has a binary code, and point
number b moves the groups whose code has bit b. If one group alone causes the doubt, the points that move it show the
residual of the whole check, and the other points next to nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CODES = (1, 2, 4, 3, 5, 6)
"""Codes of the groups: bit b is set if point b moves the group. Code 7 is left out, as noise shows at all three
points."""
_SEEN = 0.3
"""A point counts as showing the residual if it has at least this part of the whole one."""
_ALIKE = 0.1
"""Tolerance for the residuals of the points to match the code, as a part of the whole residual."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of coordinates, at most as many as there are codes.

    Parameters
    ----------
    members : sequence of (n,) ndarray of int
    """

    members: Sequence[NDArray[np.int64]]

    @property
    def parts(self) -> list[NDArray[np.int64]]:
        """The coordinates that each point moves."""
        return [np.concatenate([group for group, code in self._coded if code & bit]) for bit in self._bits]

    def doubtful(self, whole: float, rest: NDArray[np.float64]) -> tuple[int, ...]:
        """The coordinates in doubt, from the residual of the whole check and of each point; empty if these do not tell.

        The result is also empty where all coordinates are in doubt.
        """
        if not np.isfinite(whole) or whole == 0 or not np.isfinite(rest).all():
            return ()
        seen = np.abs(rest) >= _SEEN * abs(whole)
        if len(self.members) <= len(self._bits):  # each group has a point of its own
            named = [group for group, is_seen in zip(self.members, seen, strict=True) if is_seen]
            others = float(np.abs(rest[~seen]).max(initial=0.0))
            fits = max(abs(float(rest.sum()) - whole), others) <= _ALIKE * abs(whole) and len(named) < len(self.members)
        else:
            code = sum(bit for bit, is_seen in zip(self._bits, seen, strict=True) if is_seen)
            named = [group for group, own in self._coded if own == code]
            fits = bool((np.abs(rest - np.where(seen, whole, 0.0)) <= _ALIKE * abs(whole)).all())
        return tuple(int(k) for group in named for k in group) if fits else ()

    @property
    def _coded(self) -> list[tuple[NDArray[np.int64], int]]:
        return list(zip(self.members, CODES, strict=False))

    @property
    def _bits(self) -> list[int]:
        return [bit for bit in (1, 2, 4) if any(code & bit for _, code in self._coded)]
