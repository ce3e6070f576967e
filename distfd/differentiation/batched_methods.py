"""Runs several methods, at several x, in the same waves; each continues until it can answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.points import Points
from distfd.core.records import Status
from distfd.differentiation.method import Answer, Request, Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method


@dataclass(frozen=True, eq=False)
class _Stage:
    """A shared wave, each method's own waves so far, and its next request or answer; None where it is given up."""

    wave: Wave | None
    own: list[list[Wave]]
    said: list[Request | Answer | None]


@dataclass(frozen=True, eq=False)
class BatchedMethods:
    """Methods that share their waves, so that slots are busy that would be idle if each method ran alone.

    The points that the methods ask for in one wave are evaluated together. Each point is written against the x of the
    first method that still asks; a point of another method then has up to d changes, so use few different x where d is
    large. With several methods, a failed baseline does not end the wave: its method is given up, and the others go on.
    With one method it does end the wave, as nothing else is wanted.

    Parameters
    ----------
    methods : sequence of Method
        All scalar, or all for several outputs.
    partial : bool
        Whether a method goes on when its baseline has only some of J's outputs.
    """

    methods: Sequence[Method[Answer]]
    partial: bool = False

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The points that all methods want next, or an empty answer once every method has its own; see `answers`."""
        requests = [step for step in self._after(waves).said if isinstance(step, Request)]
        if not requests:
            nothing = np.empty(0)
            return Answer(nothing, nothing, nothing, np.empty(0, dtype=np.int64))
        points = joined([request.points for request in requests])
        vector, lenient = (any(getattr(request, name) for request in requests) for name in ("vector", "lenient"))
        baseline = requests[0].baseline if len(self.methods) == 1 else None
        starts = np.cumsum([0, *(len(request.points) for request in requests)])
        optional = np.concatenate([request.optional + start for request, start in zip(requests, starts, strict=False)])
        insist = any(request.insist for request in requests)
        return Request(points, baseline, vector, lenient, fatal=False, optional=optional, insist=insist)

    def answers(self, waves: Sequence[Wave]) -> list[Answer | None]:
        """Each method's answer; None where its baseline failed or the method is not finished."""
        return [step if isinstance(step, Answer) else None for step in self._after(waves).said]

    def waves(self, waves: Sequence[Wave]) -> list[list[Wave]]:
        """For each method, its own waves out of these shared waves."""
        return self._after(waves).own

    def _after(self, waves: Sequence[Wave]) -> _Stage:
        """Where the methods are after these waves; what is known of the first of them is not computed again."""
        stages = self._stages
        for k, wave in enumerate(waves, start=1):
            if k < len(stages) and (before := stages[k].wave) is not None and wave.values is before.values:
                continue
            del stages[k:]
            stages.append(self._next(stages[-1], wave))
        return stages[len(waves)]

    @cached_property
    def _stages(self) -> list[_Stage]:
        return [_Stage(None, [[] for _ in self.methods], [method.advance(()) for method in self.methods])]

    def _next(self, stage: _Stage, wave: Wave) -> _Stage:
        own, said = [list(waves) for waves in stage.own], list(stage.said)
        asking = [(k, step) for k, step in enumerate(said) if isinstance(step, Request)]
        ends = np.cumsum([0, *(len(step.points) for _, step in asking)])
        for (k, step), (start, end) in zip(asking, pairwise(ends.tolist()), strict=True):
            part = _part(wave, step, start, end)
            own[k].append(part)
            lost = step.baseline is not None and part.status[step.baseline] != Status.OK
            if lost and self.partial:
                lost = not np.isfinite(part.values[step.baseline]).any()
            said[k] = None if lost else self.methods[k].advance(own[k])
        return _Stage(wave, own, said)


def joined(parts: Sequence[Points]) -> Points:
    """Joins points that are written against different x into one set, written against the first x."""
    x = parts[0].x
    indptr, indices, values = [np.zeros(1, dtype=np.int64)], [], []
    for part in parts:
        same = part if part.x is x or part.x.tobytes() == x.tobytes() else _against(x, part)
        indptr.append(same.indptr[1:] + indptr[-1][-1])
        indices.append(same.indices)
        values.append(same.values)
    return Points(x, np.concatenate(indptr), np.concatenate(indices), np.concatenate(values))


def _against(x: NDArray[np.float64], points: Points) -> Points:
    """The same points as changes against x. Numbers are compared bit by bit, as J may tell -0.0 from 0.0."""
    bits = x.view(np.uint64)
    counts, indices, values = [0], [], []
    for k in range(len(points)):
        at: NDArray[Any] = points.dense(k)
        differs = np.ascontiguousarray(at.real).view(np.uint64) != bits
        changed = np.flatnonzero(differs | (at.imag != 0) if at.dtype.kind == "c" else differs)
        counts.append(len(changed))
        indices.append(changed)
        values.append(at[changed])
    return Points(x, np.cumsum(counts, dtype=np.int64), np.concatenate(indices), np.concatenate(values))


def _part(wave: Wave, request: Request, start: int, end: int) -> Wave:
    """The part of a joined wave that belongs to one request."""
    values = wave.values[start:end]
    if values.dtype.kind == "c" and request.points.values.dtype.kind != "c":
        values = values.real
    failures = {k - start: failure for k, failure in wave.failures.items() if start <= k < end}
    bits = None if wave.bits is None else wave.bits[start:end]
    return Wave(request, values, wave.status[start:end], failures, bits)
