"""Finds the likely cause of a doubtful derivative, by the values that are known, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.rounding_quantum import quantum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.consistency import Consistency

    Floats = NDArray[np.float64]

_SMALL = 0.03
"""A step that is more than this part of its coordinate counts as large."""
_ROUNDED = 8.0
"""A residual up to this many times the rounding error is put down to rounding: J's own sums round as well."""
_SINGLE = 64 * float(np.finfo(np.float32).eps)
"""A residual up to this part of J is put down to single precision."""
_MOST = 1000
"""Number of values that are used to find out how many digits J has."""
_NAMED = 3
_CURVED = 1e-12
"""By default steps, a J that changes by its own size over the scale of x curves by some 1e-16 of itself."""
_ENOUGH = 3
"""Number of values that J(x) is compared with to see whether x is a minimum or maximum; fewer agree by chance."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The facts about a doubtful derivative that its cause is derived from.

    Attributes
    ----------
    found : Consistency
        The result of the check.
    site : BasePoint
    h : (d,) ndarray
        Sizes of the derivative's steps.
    values : (n,) ndarray
        All known values of the doubtful output.
    sparse : bool
        Whether the derivative has a given sparsity structure.
    entries : bool
        Whether the derivative has an entry other than 0 for this output.
    finds_steps : bool
        Whether ``step="auto"`` supports this kind of derivative.
    here : float or None
        The output at x, for a derivative along coordinates by one-sided first-order differences.
    """

    found: Consistency
    site: BasePoint
    h: Floats
    values: Floats
    sparse: bool
    entries: bool
    finds_steps: bool
    here: float | None = None


def likely_cause(evidence: Evidence) -> tuple[str, str]:
    """The likely cause of a doubt, and its remedy: the first cause that fits the evidence."""
    return next(_causes(evidence))


def _causes(evidence: Evidence) -> Iterator[tuple[str, str]]:
    found, auto = evidence.found, 'step="auto"' if evidence.finds_steps else "a larger step"
    large = _large_steps(evidence.site, evidence.h)
    if evidence.sparse and not evidence.entries:
        yield (
            "the output moves, and the sparsity has no entry in its row",
            "add the entry to the sparsity, or leave the sparsity out",
        )
    known = evidence.values[np.isfinite(evidence.values)][:_MOST]
    if _is_single(known) and (found.noise or 0.0) <= _SINGLE * float(np.abs(known).max(initial=0.0)):
        yield "J has the precision of float32", f"let J compute in float64 (JAX: jax_enable_x64), or use {auto}"
    if quantum(known[:, None], printed=True)[0] > 0:
        yield "J has few digits, as printed output has", f"let J write more digits, or use {auto}"
    if large:
        yield (
            f"the step is not small against x, and J may vary over distances of x's own size ({large})",
            "give scale, the typical size of each coordinate (such as abs(x)), or a relative step",
        )
    if (found.residual or 0.0) <= _ROUNDED * (found.rounding or 0.0):
        yield (
            "J is so large against its changes along the steps that rounding hides them",
            f"let J leave out its constant part, or use {auto}",
        )
    if evidence.here is not None and _is_extreme(evidence.here, known):
        yield (
            "x seems to be a minimum or maximum of J, where one-sided differences show how J curves; or J is noisy",
            f'use scheme="central", or {auto}; `distfd check` (distfd.step_sweep) shows which it is',
        )
    if evidence.sparse:
        yield (
            "the sparsity lacks an entry in this output's row, or J is noisy",
            "add the entry to the sparsity, or leave the sparsity out and see whether the doubt stays",
        )
    yield (
        "J is noisy, or a state passes from one evaluation to the next, or J curves within the step",
        (
            f"use {auto}; `distfd check` (distfd.step_sweep) shows which it is; a simulator's reset() must undo all "
            "changes"
        ),
    )


def _is_extreme(here: float, known: Floats) -> bool:
    """Whether all other values are above the one at x, or all are below it, by no more than a smooth J changes."""
    others = known[known != here]
    if len(others) < _ENOUGH or not ((others > here).all() or (others < here).all()):
        return False
    most = float(np.abs(others - here).max())
    return abs(here) <= most or most <= _CURVED * abs(here)


def _is_single(values: Floats) -> bool:
    """Whether all values are float32 numbers, and not merely because they are round numbers."""
    with np.errstate(over="ignore"):
        held = values.astype(np.float32).astype(np.float64)
    if len(values) < 2 or not np.array_equal(held, values):
        return False
    mantissa = np.frexp(values)[0] * 2.0**20
    return bool((mantissa != np.rint(mantissa)).any())


def _large_steps(site: BasePoint, h: Floats) -> str:
    """Coordinates whose steps are large relative to them, as a list for people; empty where there are none."""
    x = np.abs(site.x)
    at = np.flatnonzero((x > 0) & (h > _SMALL * x))
    names = ", ".join(site.label(int(k)) for k in at[:_NAMED])
    return names + (f" and {len(at) - _NAMED} more" if len(at) > _NAMED else "")
