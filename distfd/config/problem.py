"""The coordinates of x as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.config.npy_vectors import read_vector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from distfd.config.sections import Bounds, Parameter

_MOST_TOLD = 5


@dataclass(frozen=True, eq=False)
class Problem:
    """The point where J is differentiated, with everything known about its d coordinates.

    Arrays have the shape (d,). ``lower`` and ``upper`` are infinite where there is no bound. ``scale`` and ``step`` are
    NaN where the configuration gives none. ``absolute`` are steps that are used unchanged. ``fixed`` coordinates,
    including those with lower == upper, are not moved. ``unused`` are names that inputs need not use, ``integers``
    those of integer parameters.
    """

    names: tuple[str, ...]
    x0: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    scale: NDArray[np.float64]
    step: NDArray[np.float64]
    fixed: NDArray[np.bool_]
    absolute: NDArray[np.float64]
    unused: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()


def make_problem(
    parameters: tuple[Parameter, ...] | None, start: str | tuple[float, ...] | None, bounds: Bounds
) -> Problem:
    """The arrays of a valid configuration, which has either ``parameters`` or ``x0`` (the start, with its bounds)."""
    if parameters is None:
        assert start is not None
        x0 = _vector(start)
        names = tuple(f"x{k}" for k in range(len(x0)))
        lower, upper = _limits(bounds.lower, bounds.upper, len(x0))
        unknown = np.full(len(x0), np.nan)
        return Problem(names, x0, lower, upper, unknown, unknown.copy(), lower == upper, unknown.copy())
    lower = _filled((p.lower for p in parameters), -np.inf)
    upper = _filled((p.upper for p in parameters), np.inf)
    return Problem(
        names=tuple(p.name for p in parameters),
        x0=_filled((p.value for p in parameters), np.nan),
        lower=lower,
        upper=upper,
        scale=_filled((p.scale for p in parameters), np.nan),
        step=_filled((p.step if isinstance(p.step, float) else None for p in parameters), np.nan),
        fixed=np.array([p.fixed for p in parameters]) | (lower == upper),
        absolute=_filled((_absolute(p) for p in parameters), np.nan),
        unused=tuple(p.name for p in parameters if p.unused == "ok"),
        integers=tuple(p.name for p in parameters if p.type == "integer"),
    )


def _absolute(parameter: Parameter) -> float | None:
    """A parameter's own absolute step; 1 for an integer parameter without a given step."""
    if parameter.step is None or isinstance(parameter.step, float):
        return 1.0 if parameter.type == "integer" and not parameter.fixed else None
    return parameter.step.absolute


def count(parameters: tuple[Parameter, ...] | None, x0: str | tuple[float, ...] | None) -> int:
    """The number of coordinates; 0 if nothing is known about them."""
    if x0 is None:
        return len(parameters or ())
    return len(_vector(x0))


def bounds_mistakes(
    x0: str | tuple[float, ...], lower: Any, upper: Any
) -> list[tuple[tuple[str | int, ...], str, Any]]:
    """Mistakes between x0 and its bounds, as (path below bounds, text, given value)."""
    x = _vector(x0)
    found: list[tuple[tuple[str | int, ...], str, Any]] = []
    for key, limit in (("lower", lower), ("upper", upper)):
        size = len(x) if limit is None or isinstance(limit, float) else len(_vector(limit))
        if size != len(x):
            found.append(((key,), f"has {size} numbers, and x0 has {len(x)}", limit))
    if found:
        return found
    low, high = _limits(lower, upper, len(x))
    checks = (
        ("lower", low, low > high, "is above upper, which is {high:g}, at index {k}"),
        ("lower", low, low > x, "is above x0, which is {x:g}, at index {k}"),
        ("upper", high, high < x, "is below x0, which is {x:g}, at index {k}"),
    )
    for key, limit, bad, text in checks:
        for k in np.flatnonzero(bad)[:_MOST_TOLD].tolist():
            path = (key, k) if isinstance(lower if key == "lower" else upper, tuple) else (key,)
            found.append((path, text.format(high=high[k], x=x[k], k=k), float(limit[k])))
        if found:
            break
    return found


def _vector(given: str | tuple[float | None, ...]) -> NDArray[np.float64]:
    return read_vector(given) if isinstance(given, str) else np.array(given, dtype=np.float64)


def _limits(lower: Any, upper: Any, d: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = []
    for limit, infinite in ((lower, -np.inf), (upper, np.inf)):
        if isinstance(limit, tuple):
            ends.append(_filled(limit, infinite))
        elif isinstance(limit, str):
            ends.append(read_vector(limit))
        else:
            ends.append(np.full(d, infinite if limit is None else limit))
    return ends[0], ends[1]


def _filled(values: Iterable[float | None], missing: float) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], dtype=np.float64)
