"""Models of the inverse Hessian from pairs s, y = dx, dg of gradients, and steps by the two-loop recursion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Pair = tuple[Floats, Floats]

_CURVED = 1e-8
"""Least cosine of the angle between s and y of a useful pair."""
_INDEPENDENT = 0.2
"""Least part of a step s that must be linearly independent of newer steps: otherwise the older pair tells mostly their
difference."""


def two_loops(pairs: Sequence[Pair], v: Floats, gamma: float) -> Floats:
    """H v, where H is the inverse Hessian that BFGS makes from gamma I and these pairs, the newest last.

    Nocedal & Wright, Numerical Optimization (2006), algorithm 7.4. Pairs without positive curvature are left out; pairs
    can lose it where some coordinates are held.
    """
    curved = [(s, y, float(s @ y)) for s, y in pairs]
    curved = [(s, y, sy) for s, y, sy in curved if sy > _CURVED * np.linalg.norm(s) * np.linalg.norm(y)]
    q, parts = v.copy(), []
    for s, y, sy in reversed(curved):
        part = float(s @ q) / sy
        parts.append(part)
        q -= part * y
    q *= gamma
    for (s, y, sy), part in zip(curved, reversed(parts), strict=True):
        q += s * (part - float(y @ q) / sy)
    return q


def conjugate(pairs: Sequence[Pair], most: int, least: float = 0.0) -> list[Pair]:
    """Makes the pairs conjugate to one another, s_i' y_j = (i == j), by Gram and Schmidt in the given order.

    Successive BFGS updates with such pairs satisfy all their secant equations at once. This is the block update of
    Schnabel (CU-CS-247-83, 1983) and Gao & Goldfarb (SIAM J. Optim. 28(2), 2018).

    Parameters
    ----------
    pairs : sequence of (s, y)
        The most important first.
    most : int
        Largest number of pairs that are used.
    least : float
        The least part of s that must be independent of the pairs used before.
    """
    taken: list[Pair] = []
    basis: list[Floats] = []
    for given in pairs:
        if len(taken) == most:
            break
        s, y = given
        rest = s / np.linalg.norm(s)
        if least:
            for unit in (*basis, *basis):
                rest = rest - unit * float(unit @ rest)
            if np.linalg.norm(rest) < least:
                continue
        for a, b in taken:
            # Average of both orders, as differences of gradients of a J that is not quadratic are not symmetric.
            share = 0.5 * (float(a @ y) + float(b @ s))
            s, y = s - share * a, y - share * b
        curvature = float(s @ y)
        if curvature > _CURVED * np.linalg.norm(s) * np.linalg.norm(y):
            root = np.sqrt(curvature)
            taken.append((s / root, y / root))
            basis.append(rest / np.linalg.norm(rest))
    return taken


@dataclass(eq=False)
class Model:
    """Two inverse Hessians from the same pairs; the one that predicted the last steps better is used.

    ``blocks`` is updated round by round with each round's pairs at once, which is good where J's curvature keeps
    changing. ``secants`` consists of the newest independent pairs of all rounds; for a quadratic J it is exact after d
    pairs.

    Parameters
    ----------
    d : int
    memory : int
        Number of pairs that are kept.
    sizes : (d,) ndarray, optional
        Sizes of the variables, 1 by default: the pairs and the scale gamma are in units of these.
    """

    d: int
    memory: int
    gamma: float | None = None
    blocks: list[Pair] = field(default_factory=list)
    secants: list[Pair] = field(default_factory=list)
    history: list[Pair] = field(default_factory=list)
    misses: Floats = field(default_factory=lambda: np.zeros(2))
    sizes: Floats | None = None

    def learn(self, pairs: Sequence[Pair]) -> None:
        """Takes in the pairs of one round: that of the accepted step first, the rest by distance."""
        known = [(s, y) for s, y in pairs if np.isfinite(y).all() and (s != 0).any()]
        if self.sizes is not None:
            known = [(s / self.sizes, y * self.sizes) for s, y in known]
        if not known:
            return
        if self.gamma is not None:
            self._judge(*known[0])
        self.history = [*known, *self.history][: 4 * min(self.d, self.memory) + 8]
        if block := conjugate(known, self.memory):
            self.blocks = [*self.blocks, *block[::-1]][-self.memory :]
            s, y = block[0]
            self.gamma = float(s @ y) / float(y @ y)
        self.secants = conjugate(self.history, min(self.d, self.memory), _INDEPENDENT)[::-1]

    def forget(self) -> None:
        """Drops all pairs; only the scale is kept."""
        self.blocks, self.secants, self.history, self.misses = [], [], [], np.zeros(2)

    def steps(self, g: Floats, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Steps -H g along the free coordinates, by the better model and by the other one.

        Without any pair, the steps have length 1 in units of the sizes.
        """
        if self.sizes is not None:
            step, other = self._steps(g * self.sizes, free)
            return step * self.sizes, other * self.sizes
        return self._steps(g, free)

    def _steps(self, g: Floats, free: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Steps in units of the sizes, for a gradient in the same units."""
        if self.gamma is None:
            step = np.where(free, -g, 0.0) / max(float(np.linalg.norm(g[free])), np.finfo(float).tiny)
            return step, step
        order = (self.secants, self.blocks) if self.misses[1] < self.misses[0] else (self.blocks, self.secants)
        made = []
        for pairs in order:
            step = np.zeros(self.d)
            step[free] = -two_loops([(s[free], y[free]) for s, y in pairs], g[free], self.gamma)
            made.append(step)
        return made[0], made[1]

    def _judge(self, s: Floats, y: Floats) -> None:
        """Measures how far each model is from s = H y: logarithms, averaged over the last few rounds."""
        assert self.gamma is not None
        found = [np.linalg.norm(s - two_loops(pairs, y, self.gamma)) for pairs in (self.blocks, self.secants)]
        self.misses = 0.5 * self.misses + 0.5 * np.log(np.array(found) / np.linalg.norm(s) + 1e-9)
