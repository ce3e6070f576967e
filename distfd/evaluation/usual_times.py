"""How long J took in the last session: a guess for the next one of a J of the same name, until it has seen its own.

Without it the first chunk of each slot is a single point, and each slot is idle until the driver has sent it the next.
A wrong guess costs no more than that: a slot whose evaluations take longer hands back what it has not begun, and no
point is called late by a guess.
"""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distfd.objectives.base import Objective
    from distfd.scheduling.evaluation_times import EvaluationTimes

_NAMED = (type, FunctionType, BuiltinFunctionType, MethodType)
_MOST = 256
"""Names that are kept."""
_seconds: dict[str, float] = {}
"""By the name of J, how long each of its evaluations took, the latest last."""


def remember(objective: Objective, times: EvaluationTimes) -> None:
    """Keep how long an evaluation of this J took, where all took the same time."""
    name = _name(objective)
    if name is None or not times.count:
        return
    _seconds.pop(name, None)
    if times.even and times.median is not None:
        _seconds[name] = times.median
        while len(_seconds) > _MOST:
            _seconds.pop(next(iter(_seconds), name), None)  # another thread may have removed it


def guess(objective: Objective) -> float | None:
    """Seconds that an evaluation may take, by what is known of J's name; None where nothing is."""
    name = _name(objective)
    return None if name is None else _seconds.get(name)


def _name(objective: Objective) -> str | None:
    """The name of the user's function or class, as it is the same when a notebook's cell defines it anew."""
    first = next(iter(objective.parts), objective)
    if first is objective:
        return None  # a program, or an FMU
    while isinstance(first, partial):
        first = first.func
    # Not by hasattr: to ask a user's object what it has may run code of its own.
    named = first if isinstance(first, _NAMED) else type(first)
    return f"{named.__module__}.{named.__qualname__}"
