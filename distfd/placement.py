"""Where the points of a stencil go: inside the bounds, at offsets that floating point can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.stencils import Stencil


def place(
    x: NDArray[np.float64],
    h: NDArray[np.float64],
    stencil: Stencil,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """New coordinate values and the steps in use, for coordinates that may all move.

    At full h the stencil itself is tried first, then mirrored, then every window of as many neighbouring nodes,
    the most symmetric first; so a one-sided stencil flips, and a central one becomes one-sided of the same order.
    Only where none fits is the step shrunk, and then the arrangement that keeps the largest step is taken.

    Parameters
    ----------
    x, h, lower, upper : (a,) ndarrays
        Coordinates, their signed nominal steps, and bounds with lower <= x <= upper.
    stencil : Stencil

    Returns
    -------
    values : (a, n) ndarray
        x_k + c_i h_k as floating point has it, never outside the bounds, one column a node.
    step : (a,) ndarray
        The steps in use, shrunk where they had to be.
    """
    options = _arrangements(stencil.nodes)
    values, step = np.empty((len(x), len(stencil.nodes))), h.copy()
    open_ = np.ones(len(x), dtype=bool)
    for nodes in options:
        if not open_.any():
            return values, step
        tried = x[open_, None] + h[open_, None] * nodes
        fits = np.all((tried >= lower[open_, None]) & (tried <= upper[open_, None]), axis=1)
        taken = np.flatnonzero(open_)[fits]
        values[taken] = tried[fits]
        open_[taken] = False
    tight = np.flatnonzero(open_)
    if len(tight):
        values[tight], step[tight] = _shrink(x[tight], h[tight], options, lower[tight], upper[tight])
    return values, step


def check_offsets(offsets: NDArray[np.float64], label: Callable[[int], str]) -> None:
    """Raise InputError where points of one coordinate coincide, with each other or with x, in floating point.

    Parameters
    ----------
    offsets : (a, n) ndarray
        Realised offsets from x.
    label : callable
        Row number -> what a message calls that coordinate.
    """
    ordered = np.sort(np.concatenate((offsets, np.zeros((len(offsets), 1))), axis=1), axis=1)
    bad = np.flatnonzero(np.any(np.diff(ordered, axis=1) == 0, axis=1))
    if len(bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise InputError(
            f"step: at {label(int(bad[0]))}{more} the step is too small: x + h is x in floating point, or two points "
            "of the scheme coincide; use a larger step or wider bounds"
        )


def as_bounds(bounds: Any, d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds, (d,) each, from scipy's Bounds, d pairs (None is unbounded), or None.

    Raises
    ------
    InputError
        If they are of no such form, or lower > upper somewhere.
    """
    if bounds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    try:
        if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
            lower, upper = (np.broadcast_to(np.asarray(b, dtype=float), (d,)).copy() for b in (bounds.lb, bounds.ub))
        else:
            lower, upper = _from_pairs(bounds, d)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"bounds: need a scipy.optimize.Bounds or {d} (lower, upper) pairs, one for each coordinate ({error})"
        ) from error
    crossed = np.flatnonzero(~(lower <= upper))
    if len(crossed):
        k = crossed[0]
        raise InputError(f"bounds: lower > upper (or NaN) at coordinate {k}: ({lower[k]}, {upper[k]})")
    return lower, upper


def _from_pairs(bounds: Any, d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = list(bounds)  # what is no iterable raises TypeError, which is answered above
    if len(pairs) != d or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"got {len(pairs)} entries")
    lower = np.array([-np.inf if low is None else low for low, _ in pairs], dtype=np.float64)
    upper = np.array([np.inf if high is None else high for _, high in pairs], dtype=np.float64)
    return lower, upper


def _arrangements(nodes: tuple[float, ...]) -> list[NDArray[np.float64]]:
    """The stencil, its mirror image, and all windows {-a .. -1, 1 .. n - a}, most symmetric first, + before -."""
    n = len(nodes)
    windows = [[i for i in range(-a, n - a + 1) if i] for a in range(n + 1)]
    windows.sort(key=lambda window: (abs(sum(1 if i > 0 else -1 for i in window)), -sum(window)))
    seen: list[tuple[float, ...]] = []
    for candidate in [nodes, tuple(-c for c in nodes), *(tuple(float(i) for i in w) for w in windows)]:
        if sorted(candidate) not in [sorted(other) for other in seen]:
            seen.append(candidate)
    return [np.array(candidate, dtype=float) for candidate in seen]


def _shrink(
    x: NDArray[np.float64],
    h: NDArray[np.float64],
    options: list[NDArray[np.float64]],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sign = np.where(h >= 0, 1.0, -1.0)
    above, below = np.where(h >= 0, upper - x, x - lower), np.where(h >= 0, x - lower, upper - x)
    room = []
    for nodes in options:
        reach_above, reach_below = max(0.0, nodes.max()), max(0.0, -nodes.min())
        with np.errstate(divide="ignore", invalid="ignore"):
            room.append(
                np.minimum(
                    above / reach_above if reach_above else np.full(x.shape, np.inf),
                    below / reach_below if reach_below else np.full(x.shape, np.inf),
                )
            )
    best = np.argmax(np.stack(room), axis=0)
    step = sign * np.take_along_axis(np.stack(room), best[None], axis=0)[0]
    values = x[:, None] + step[:, None] * np.stack(options)[best]
    # x + (upper - x) may round to one ulp past upper.
    return np.clip(values, lower[:, None], upper[:, None]), step
