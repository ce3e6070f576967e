"""Requests with the points of a check, and the parts of the waves that answer them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.points import Points
from distfd.differentiation.batched_methods import joined
from distfd.differentiation.method import Request, Wave

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_optional(request: Request, points: Points, *, insist: bool) -> Request:
    """The request with further points behind its own, as optional ones."""
    n = len(request.points)
    return replace(
        request,
        points=joined([request.points, points]),
        optional=np.arange(n, n + len(points)),
        insist=insist,
    )


def optional_alone(points: Points, *, vector: bool, outputs: int) -> Request:
    """A request for optional points only."""
    return Request(points, None, vector, outputs=outputs, optional=np.arange(len(points)), insist=True)


def own_part(wave: Wave, request: Request) -> Wave:
    """The wave of a request without the points that were added behind its own."""
    n = len(request.points)
    failures = {k: failure for k, failure in wave.failures.items() if k < n}
    bits = None if wave.bits is None else wave.bits[:n]
    return Wave(request, wave.values[:n], wave.status[:n], failures, bits)


def part(wave: Wave, start: int, end: int) -> Wave:
    """The part of a wave between two numbers of points."""
    points = wave.request.points.take(np.arange(start, end))
    failures = {k - start: failure for k, failure in wave.failures.items() if start <= k < end}
    bits = None if wave.bits is None else wave.bits[start:end]
    return Wave(Request(points), wave.values[start:end], wave.status[start:end], failures, bits)


def only(point: Points, coordinates: NDArray[np.int64]) -> Points:
    """A point that makes only those changes of the given one that are in these coordinates."""
    kept = np.isin(point.indices, coordinates)
    return Points(point.x, np.array([0, int(kept.sum())]), point.indices[kept], point.values[kept])
