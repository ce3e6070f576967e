"""Difference schemes as data: a stencil is a list of nodes; weights, order and default step follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Stencil:
    """Nodes c_i, in units of the step h, of a formula for the first derivative.

    J'(x) ~ sum_i w_i (J(x + c_i h) - J(x)) / h, with the weights that make it exact for polynomials of the highest
    degree (Fornberg, Math. Comp. 51, 1988). The baseline J(x) is always part of it and has no node.

    Parameters
    ----------
    name : str
        What results and messages call it.
    nodes : sequence of float
        Distinct, finite, none of them 0; kept as a tuple.
    imaginary : bool
        The complex step (Squire & Trapp, SIAM Rev. 40, 1998): dJ/dx ~ Im J(x + i c h) / (c h), one node. No
        subtraction, so h may be as small as it likes; J must be analytic and take complex x.
    default_step : float, optional
        The relative step where none is given; follows from the order where None.

    Raises
    ------
    InputError
        If the nodes cannot make a formula.
    """

    name: str
    nodes: tuple[float, ...]
    imaginary: bool = False
    default_step: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"stencil: its name must be text (was {self.name!r})")
        try:
            nodes = tuple(float(node) for node in self.nodes)
        except (TypeError, ValueError):
            nodes = ()
        if not nodes or 0 in nodes or len(set(nodes)) != len(nodes) or not np.all(np.isfinite(nodes)):
            raise InputError(f"stencil {self.name!r}: nodes must be distinct, finite and not 0 (were {self.nodes!r})")
        if self.default_step is not None and not 0 < self.default_step < np.inf:
            raise InputError(f"stencil {self.name!r}: default_step must be finite and > 0 (was {self.default_step!r})")
        if self.imaginary and len(nodes) > 1:
            raise InputError(f"stencil {self.name!r}: an imaginary one has one node (there were {len(nodes)})")
        object.__setattr__(self, "nodes", nodes)

    @property
    def order(self) -> int:
        """The p of the truncation error O(h^p): one for each node, two for an imaginary one."""
        return 2 if self.imaginary else len(self.nodes)

    @property
    def weights(self) -> tuple[float, ...]:
        """w_i, for equal steps."""
        nodes = np.array(self.nodes, dtype=float)
        return tuple((coefficients(nodes) / nodes).tolist())

    @property
    def relative_step(self) -> float:
        """eps^(1/(p+1)), which balances truncation against round-off (SciPy's default for p = 1 and 2).

        An imaginary step has no round-off to balance; eps^(1/2), SciPy's again, leaves h^2/6 = 4e-17 times the third
        derivative.
        """
        return self.relative_step_at(EPS)

    def relative_step_at(self, eps: float) -> float:
        """The same for a J whose numbers near 1 are ``eps`` apart; an imaginary step needs no other for that."""
        if self.default_step is not None:
            return self.default_step
        return float(EPS ** (1 / 2) if self.imaginary else eps ** (1 / (self.order + 1)))


def coefficients(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """c_i = prod_{j != i} o_j / (o_j - o_i) for offsets o (..., n), so that J' ~ sum_i c_i (J_i - J_0) / o_i.

    This is the derivative at 0 of the polynomial through (0, J_0) and all (o_i, J_i), in Lagrange's form. Each summand
    is a coefficient times the slope of a secant. A single node has exactly the coefficient 1, so the result is the
    plain difference quotient.
    """
    n = offsets.shape[-1]
    result = np.ones_like(offsets)
    for i in range(n):
        for j in range(n):
            if j != i:
                result[..., i] *= offsets[..., j] / (offsets[..., j] - offsets[..., i])
    return result


def curvature_coefficients(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """c_i = 2 sum_{k != i} 1 / (o_i - o_k) prod_{j != i, k} o_j / (o_j - o_i), for J'' ~ sum_i c_i (J_i - J_0) / o_i.

    The second derivative at 0 of the polynomial through (0, J_0) and all (o_i, J_i), offsets o (..., n), n >= 2.
    """
    n = offsets.shape[-1]
    result = np.zeros_like(offsets)
    for i in range(n):
        for k in set(range(n)) - {i}:
            part = 2 / (offsets[..., i] - offsets[..., k])
            for j in set(range(n)) - {i, k}:
                part = part * (offsets[..., j] / (offsets[..., j] - offsets[..., i]))
            result[..., i] += part
    return result


SCHEMES = {
    stencil.name: stencil
    for stencil in (
        Stencil("forward", (1,)),
        Stencil("backward", (-1,)),
        Stencil("forward2", (1, 2)),
        Stencil("backward2", (-1, -2)),
        Stencil("central", (-1, 1)),
        Stencil("central4", (-2, -1, 1, 2)),
    )
}
"""Real stencils by name."""

RICHARDSON = Stencil("richardson", (-4, -2, -1, 1, 2, 4))
"""Central differences at h, 2 h and 4 h, extrapolated; `distfd.differentiation.richardson` adds an error bar from
them."""

COMPLEX_STEP = Stencil("complex-step", (1,), imaginary=True)


_ELSEWHERE = {
    **dict.fromkeys(("2-point", "2point", "2pt", "fd", "fwd"), "forward"),
    **dict.fromkeys(("3-point", "3point", "3pt", "centered", "centred", "cd", "symmetric"), "central"),
    **dict.fromkeys(("cs", "complex", "complexstep", "complex_step", "csd"), "complex-step"),
    **dict.fromkeys(("5-point", "fourth-order"), "central4"),
    **dict.fromkeys(("ridders", "extrapolation", "romberg"), "richardson"),
}
"""Names of these schemes in other packages (SciPy, OpenMDAO, numdifftools), and here."""


def resolve_scheme(scheme: str | Stencil) -> Stencil:
    """The stencil with this name, or the stencil itself if one is given.

    Raises
    ------
    InputError
        If no stencil has this name.
    """
    if isinstance(scheme, Stencil):
        return scheme
    named = {**SCHEMES, COMPLEX_STEP.name: COMPLEX_STEP, RICHARDSON.name: RICHARDSON}
    if not isinstance(scheme, str) or scheme not in named:
        meant = _ELSEWHERE.get(scheme.lower() if isinstance(scheme, str) else "")
        hint = f"; {meant!r} is what you mean" if meant else did_you_mean(str(scheme), named)
        raise InputError(f"scheme: there is no {scheme!r}; use one of {', '.join(named)}, or a distfd.Stencil{hint}")
    return named[scheme]
