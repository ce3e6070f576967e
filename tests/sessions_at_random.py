"""Sessions of one process used at random: Evaluators, threads and one-call functions, at once, from a seed.

Used by tests/executors/test_sessions_at_random.py with few seeds, and by scripts/fuzz_sessions.py with as many as are
wanted.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

import distfd

_SECONDS = 900.0
"""In which each user ends, on a machine that is busy."""


class _J:
    """A sum of powers; its gradient is known."""

    def __init__(self, power: int, seconds: float) -> None:
        self.power, self.seconds = power, seconds

    def __call__(self, x: Any) -> float:
        time.sleep(self.seconds)
        return float((x**self.power).sum())

    def gradient(self, x: Any) -> Any:
        return self.power * x ** (self.power - 1)


class _User(threading.Thread):
    """One who does what comes to mind with J."""

    def __init__(self, seed: str) -> None:
        super().__init__(daemon=True)
        self.rng = random.Random(seed)
        self.error: BaseException | None = None
        self.did: list[str] = []

    def run(self) -> None:
        try:
            for _ in range(self.rng.randint(1, 2)):
                self.rng.choice((self._one_call, self._session, self._session, self._overlapping))()
        except BaseException as error:
            self.error = error

    def _made(self) -> tuple[_J, Any]:
        d = self.rng.randint(1, 6)
        x = np.array([self.rng.uniform(0.5, 2.0) for _ in range(d)])
        return _J(self.rng.randint(1, 4), self.rng.choice((0.0, 0.01, 0.05))), x

    def _right(self, found: Any, j: _J, x: Any) -> None:
        np.testing.assert_allclose(found, j.gradient(x), rtol=1e-5)

    def _one_call(self) -> None:
        self.did.append("one call")
        j, x = self._made()
        self._right(distfd.gradient(j, x), j, x)

    def _session(self) -> None:
        j, x = self._made()
        with distfd.Evaluator(j) as evaluator:
            for _ in range(self.rng.randint(1, 3)):
                what = self.rng.choice(("gradient", "begin", "cancel", "close", "kill", "dwell"))
                self.did.append(what)
                if what == "gradient":
                    self._right(evaluator.gradient(x), j, x)
                elif what == "begin":
                    pending = evaluator.begin(x + 0.1)
                    self._right(pending.result().derivative, j, x + 0.1)
                elif what == "cancel":
                    evaluator.begin(x).cancel()
                elif what == "close":
                    evaluator.close()
                elif what == "kill":
                    with distfd.Evaluator(_Mortal(j), retries=9) as other:
                        self._right(other.gradient(x), j, x)
                else:
                    pending = evaluator.begin(x)
                    time.sleep(self.rng.choice((0.0, 1.5)))  # nobody waits for it meanwhile
                    self._right(pending.result().derivative, j, x)

    def _overlapping(self) -> None:
        self.did.append("two at once")
        (j, x), (i, y) = self._made(), self._made()
        with distfd.Evaluator(j) as one, distfd.Evaluator(i) as other:
            first, second = one.begin(x), other.begin(y)
            if self.rng.random() < 0.5:
                first, second, j, x, i, y = second, first, i, y, j, x
            self._right(second.result().derivative, i, y)
            self._right(first.result().derivative, j, x)


class _Mortal:
    """J whose process dies now and then, at one point in about ten: ten times in a row is no chance."""

    def __init__(self, j: _J) -> None:
        self.j = j

    def __call__(self, x: Any) -> float:
        if random.random() < 0.1:
            os._exit(9)
        return self.j(x)


def use_at_random(seed: int) -> None:
    """Two to four users at once.

    Raises
    ------
    AssertionError
        If one does not end, or has a wrong number or an error.
    """
    users = [_User(f"{seed} {k}") for k in range(random.Random(seed).randint(2, 4))]
    for user in users:
        user.start()
    end = time.monotonic() + _SECONDS
    for user in users:
        user.join(max(0.0, end - time.monotonic()))
    where = f"seed {seed}: {[user.did for user in users]}"
    frames = sys._current_frames()
    hang = ["".join(traceback.format_stack(frames.get(user.ident or 0))) for user in users if user.is_alive()]
    assert not hang, f"one hangs; {where}\n" + "\n\n".join(hang)
    for user in users:
        if user.error is not None:
            raise AssertionError(where) from user.error


def workers_left() -> int:
    """Actors that are alive once those that stay are told to go; those just killed have a while to go."""
    from ray._private import state

    distfd.shutdown()
    end = time.monotonic() + 20
    alive = 1
    while alive and time.monotonic() < end:
        with contextlib.suppress(Exception):
            alive = sum(each["State"] in ("ALIVE", "PENDING_CREATION") for each in state.actors().values())
        time.sleep(0.2)
    return alive
