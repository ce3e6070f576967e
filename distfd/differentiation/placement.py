"""Places the points of a stencil: inside the bounds, at offsets that floating point can represent."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import real_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.differentiation.stencils import Stencil


Arrangements: TypeAlias = "list[tuple[float, NDArray[np.float64]]]"


def place(
    x: NDArray[np.float64],
    h: NDArray[np.float64],
    stencil: Stencil,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """New coordinate values and the steps in use, for coordinates that may all move.

    With the full step, the stencil itself is tried first, then its mirror image, then every window of as many
    neighbouring nodes, the most symmetric first. So a one-sided stencil flips, and a central one becomes one-sided of
    the same order. Only where none fits is the step shrunk, and then the arrangement that keeps the largest step is
    used.

    Parameters
    ----------
    x, h, lower, upper : (a,) ndarrays
        Coordinates, their signed nominal steps, and bounds with lower <= x <= upper.
    stencil : Stencil

    Returns
    -------
    values : (a, n) ndarray
        x_k + c_i h_k as floating point has it, never outside the bounds, one column for each node.
    step : (a,) ndarray
        The realised steps: negative where the stencil is mirrored, smaller where it was shrunk.
    """
    return arrange(x, h, arrangements(stencil.nodes), lower, upper)


def arrange(
    x: NDArray[np.float64],
    h: NDArray[np.float64],
    options: Arrangements,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `place`, with the allowed arrangements given as (direction, n nodes), the most wanted first."""
    values, step = np.empty((len(x), len(options[0][1]))), np.empty(len(x))
    left = np.arange(len(x))
    with np.errstate(over="ignore"):
        for direction, nodes in options:
            tried = x[left, None] + h[left, None] * (direction * nodes)
            inside = (tried >= lower[left, None]) & (tried <= upper[left, None]) & np.isfinite(tried)
            fits = inside.all(axis=1)
            taken, left = left[fits], left[~fits]
            values[taken] = tried[fits]
            step[taken] = (tried[fits, 0] - x[taken]) / nodes[0]
            if not len(left):
                return values, step
        values[left], step[left] = _shrink(x[left], h[left], options, lower[left], upper[left])
    return values, step


def arrangements(nodes: tuple[float, ...]) -> Arrangements:
    """(direction, nodes) of all formulas with this number of nodes, every set of points once.

    The stencil itself first, then all windows {-a .. -1, 1 .. n - a} of neighbouring nodes, the most symmetric first;
    direction + before -.
    """
    n = len(nodes)
    windows = [tuple(float(i) for i in range(-a, n - a + 1) if i) for a in range(n // 2, -1, -1)]
    kept: dict[frozenset[float], tuple[float, NDArray[np.float64]]] = {}
    for candidate in (nodes, *windows):
        for direction in (1.0, -1.0):
            kept.setdefault(frozenset(direction * c for c in candidate), (direction, np.array(candidate)))
    return list(kept.values())


def check_offsets(offsets: NDArray[np.float64], label: Callable[[int], str]) -> None:
    """Raise InputError where points of one coordinate coincide, with each other or with x, or are infinitely far.

    Parameters
    ----------
    offsets : (a, n) ndarray
        Realised offsets from x.
    label : callable
        The name of a row's coordinate in messages, by row number.
    """
    ordered = np.sort(np.concatenate((offsets, np.zeros((len(offsets), 1))), axis=1), axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = np.diff(ordered, axis=1)
        spread = ordered[:, -1] - ordered[:, 0]
    bad = np.flatnonzero(np.any(gaps == 0, axis=1) | ~np.isfinite(spread))
    if not len(bad):
        return
    first = int(bad[0])
    why = "large: x + h is too large for floating point; use a smaller one"
    if np.any(gaps[first] == 0):
        why = (
            "small: x + h is x in floating point, or two points of the scheme coincide; "
            "use a larger one, or wider bounds"
        )
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    raise InputError(f"step: at {label(first)}{more} the step is too {why}")


def as_bounds(
    bounds: Any, d: int, x: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds, (d,) each, from SciPy's Bounds, d pairs (None means unbounded), or None.

    Parameters
    ----------
    x : (d,) ndarray, optional
        Where given, two pairs that would fix both coordinates of x, but would not if read as (lower, upper), are
        refused.

    Raises
    ------
    InputError
        If the bounds have no such form, or lower > upper somewhere.
    """
    if bounds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    arrays = hasattr(bounds, "lb") and hasattr(bounds, "ub")
    try:
        lower, upper = (_limits(b, d) for b in (bounds.lb, bounds.ub)) if arrays else _from_pairs(bounds, d)
    except ValueError as error:
        raise InputError(
            f"bounds: need a scipy.optimize.Bounds or {d} (lower, upper) pairs, one for each coordinate ({error})"
        ) from None
    if not arrays and x is not None and d == 2 and _are_arrays(lower, upper, x):
        raise InputError(
            f"bounds: as (lower, upper) pairs, one for each coordinate, ({lower[0]}, {upper[0]}) and ({lower[1]}, "
            f"{upper[1]}) leave x no room; for arrays of lower and upper bounds give scipy.optimize.Bounds(lb, ub)"
        )
    crossed = np.flatnonzero(~(lower <= upper))
    if len(crossed):
        k = crossed[0]
        raise InputError(f"bounds: lower > upper (or NaN) at coordinate {k}: ({lower[k]}, {upper[k]})")
    return lower, upper


def _are_arrays(lower: NDArray[np.float64], upper: NDArray[np.float64], x: NDArray[np.float64]) -> bool:
    """Whether two bounds were meant as (lower, upper): read as pairs they exclude or fix x, and read as arrays not."""
    free = (lower <= x) & (x <= upper) & (lower < upper)
    low, high = np.array([lower[0], upper[0]]), np.array([lower[1], upper[1]])
    return bool(not free.any() and ((low <= x) & (x <= high)).all() and (low < high).any())


def _from_pairs(bounds: Any, d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lower and the upper bounds.

    Raises
    ------
    ValueError
        If there are no d pairs; it says what there is.
    """
    pairs = list(bounds) if isinstance(bounds, Iterable) and not isinstance(bounds, str) else None
    if pairs is None:
        raise ValueError(f"was {bounds!r}")
    if len(pairs) == 2 and all(isinstance(one, (Real, type(None))) for one in pairs):
        limits = f"{-np.inf if pairs[0] is None else pairs[0]}, {np.inf if pairs[1] is None else pairs[1]}"
        raise ValueError(f"was {bounds!r}; to bound each coordinate by these two give Bounds({limits})")
    if len(pairs) != d:
        arrays = len(pairs) == 2 and all(np.shape(one) == (d,) for one in pairs)
        hint = f"; for arrays of {d} lower and {d} upper bounds give scipy.optimize.Bounds(lb, ub)" if arrays else ""
        raise ValueError(f"got {len(pairs)}{hint}")
    for k, pair in enumerate(pairs):
        if not isinstance(pair, Sized) or isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"that of coordinate {k} was {pair!r}")
    return _limits([-np.inf if low is None else low for low, _ in pairs], d), _limits(
        [np.inf if high is None else high for _, high in pairs], d
    )


def _limits(given: Any, d: int) -> NDArray[np.float64]:
    """Lower or upper bounds, (d,).

    Raises
    ------
    ValueError
        If they are no real numbers, or there are neither d nor one.
    """
    limits = real_array(given)
    if limits.shape not in ((), (1,), (d,)):
        raise ValueError(f"got {' x '.join(map(str, limits.shape))} lower or upper bounds")
    return np.broadcast_to(limits, (d,)).copy()


def _shrink(
    x: NDArray[np.float64],
    h: NDArray[np.float64],
    options: Arrangements,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The arrangement that keeps the largest step, stretched to the nearer bound."""
    values, step, most = np.repeat(x[:, None], len(options[0][1]), axis=1), np.zeros(len(x)), np.zeros(len(x))
    for direction, nodes in options:
        reach = np.copysign(direction, direction * h)[:, None] * nodes
        room = np.min(np.where(reach > 0, (upper - x)[:, None], (lower - x)[:, None]) / reach, axis=1)
        more = np.flatnonzero(room > most)
        # x + (upper - x) may round to one ulp past upper.
        at = np.clip(x[more, None] + room[more, None] * reach[more], lower[more, None], upper[more, None])
        values[more], most[more], step[more] = at, room[more], (at[:, 0] - x[more]) / nodes[0]
    return values, step
