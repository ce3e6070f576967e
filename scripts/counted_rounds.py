"""Rounds by counting, for scripts/bench_minimize.py and scripts/bench_lbfgs.py."""

from __future__ import annotations

import math
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class ReachedError(Exception):
    """The target is."""


@dataclass
class Rounds:
    """J at single points, with the rounds that W slots would take, until a value is as low as the target.

    Parameters
    ----------
    fun : callable
    target : float
    slots : int
    """

    fun: Callable[[Any], float]
    target: float = -math.inf
    slots: int = 1
    rounds: int = 0
    reached: int | None = None
    in_wave: bool = False
    lowest: float = math.inf
    points: list[bytes] = field(default_factory=list)

    def __call__(self, x: Any) -> float:
        if not self.in_wave:
            self.rounds += 1
        value = float(self.fun(np.asarray(x, dtype=float)))
        self.lowest = min(self.lowest, value)
        if value <= self.target and self.reached is None:
            self.reached = self.rounds
        if self.reached is not None and not self.in_wave:
            raise ReachedError
        return value

    def map(self, fun: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """A map on W slots."""
        todo = list(items)
        self.rounds += math.ceil(len(todo) / self.slots)
        self.in_wave = True
        try:
            found = [fun(item) for item in todo]
        finally:
            self.in_wave = False
        if self.reached is not None:
            raise ReachedError
        return found


class CountingExecutor(Executor):
    """An executor of concurrent.futures whose maps are counted."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds

    def map(self, fn: Any, *iterables: Any, **_: Any) -> Any:
        return iter(self.rounds.map(lambda args: fn(*args), list(zip(*iterables, strict=False))))

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.rounds.map(lambda _: fn(*args, **kwargs), [0])[0])
        return future


def by_optimparallel(rounds: Rounds, x0: Any) -> None:
    """optimparallel"""  # noqa: D400, D403  # the name of a row
    from optimparallel import minimize_parallel

    options = {"ftol": 0, "gtol": 0, "maxiter": 500}
    minimize_parallel(rounds, x0, options=options, parallel={"executor": CountingExecutor(rounds)})


def stopped(rounds: Rounds, run: Callable[[Rounds], Any]) -> int | None:
    """The rounds at which the target was reached; whatever else ends the run is told."""
    try:
        run(rounds)
    except Exception:  # some put what J raises into errors of their own
        if rounds.reached is None:
            raise
    return rounds.reached
