"""Warm starts: points evaluated from the state in which an earlier evaluation left J.

``baseline``: the baseline goes first, alone, from J's own first state; every other point of the call starts from the
state that it left. ``iterate``: every point, the baseline included, starts from the state that the last accepted
baseline left.

A value then depends on where it started, so its key has in it the key of the evaluation that left that state, whose
own key has in it where that one started. States themselves are held in memory alone: where a value is known from the
store and its state is not, the evaluation is made again for the state's sake.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from distfd.errors import InputError
from distfd.evaluate import evaluate
from distfd.numerics.plan import Request, Wave
from distfd.records import Status
from distfd.results import gather

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from distfd.points import Points
    from distfd.protocols import Objective
    from distfd.records import Batch
    from distfd.session import Session

Mode = Literal["baseline", "iterate"]
MODES: tuple[Mode, ...] = ("baseline", "iterate")

_KEPT = 4
"""Baselines whose states are kept: a line search may come back to one of the last."""


@dataclass(eq=False)
class Left:
    """The state in which the evaluation of one point left J.

    Attributes
    ----------
    key : bytes
        The key of that evaluation.
    request : Request
        To make it again.
    start : Left or None
        Where it started itself; None for J's own first state, and once the state is known.
    state : (n,) ndarray of uint8 or None
        Pickled; None where only the value is known.
    """

    key: bytes
    request: Request
    start: Left | None
    state: NDArray[np.uint8] | None = None


@dataclass(eq=False)
class Warm:
    """What a session remembers of states.

    Attributes
    ----------
    mode : "baseline" or "iterate"
    automatic : bool
        Whether each baseline counts as accepted as soon as the next one, at another x, is asked for.
    again : list of (Wave, list of Batch, float)
        Evaluations that were made again for their states, and the seconds they took, for whoever counts.
    """

    mode: Mode
    automatic: bool = True
    again: list[tuple[Wave, list[Batch], float]] = field(default_factory=list)
    _started: bool = False
    _start: Left | None = None
    """Where the points of this call start, once one has."""
    _accepted: Left | None = None
    _latest: Left | None = None
    _known: dict[bytes, tuple[Left | None, Left]] = field(default_factory=dict)
    """The latest baselines by their points alone: where each started, and what it left."""

    def begin(self) -> None:
        """A new call."""
        self._started, self._start = False, None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, nothing is accepted but by `accept`."""
        self.automatic = False
        try:
            yield
        finally:
            self.automatic = True

    def taken_again(self) -> list[tuple[Wave, list[Batch], float]]:
        """What was made again since this was asked last."""
        again, self.again = self.again, []
        return again

    def accept(self, points: Points, baseline: int = 0) -> None:
        """What follows starts from what J left at this point; if that is none of the latest baselines, at the last."""
        known = self._known.get(_place(points, baseline))
        self._accepted = known[1] if known is not None else self._latest
        self._latest = self._accepted

    def of_baseline(self, points: Points, baseline: int) -> Left | None:
        """Where a baseline starts: a point that was one of the latest starts where it did then."""
        if self.mode == "baseline":
            return None
        known = self._known.get(_place(points, baseline))
        if known is not None:
            return known[0]
        return self._current()

    def _current(self) -> Left | None:
        if self.automatic and self._latest is not None:
            self._accepted = self._latest
        return self._accepted

    def note(self, request: Request, start: Left | None, key: bytes, state: NDArray[np.uint8] | None) -> Left:
        """A baseline has a value now: what it left, its state with it where that was brought home."""
        assert request.baseline is not None, "only baselines are remembered"
        place = _place(request.points, request.baseline)
        _, left = self._known.pop(place, (None, None))
        if left is None or left.key != key:
            only = Request(request.points.take(np.array([request.baseline])), 0, request.vector, request.lenient)
            left = Left(key, only, start)
        if state is not None:
            left.state, left.start = state, None
        self._known[place] = start, left
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        self._latest = left
        return left

    def left(self, points: Points, baseline: int) -> Left | None:
        """What J left at one of the latest baselines."""
        known = self._known.get(_place(points, baseline))
        return None if known is None else known[1]

    def use(self, start: Left | None) -> None:
        """The points that follow in this call without a baseline of their own start here."""
        self._started, self._start = True, start

    @property
    def start(self) -> Left | None:
        """Where points without a baseline of their own start: as the others of their call, or where the next would."""
        if self._started or self.mode == "baseline":
            return self._start
        return self._current()


def make_warm(mode: str | None, objective: Objective) -> Warm | None:
    """The memory of a session with warm starts; None where there are none.

    Raises
    ------
    InputError
        If there is no such mode, or J cannot start from a state.
    """
    check = getattr(objective, "check_warm", None)
    if mode not in (None, *MODES):
        raise InputError(f"warm: must be baseline, iterate or None (was {mode!r})")
    if check is not None:
        check(mode)
    elif mode is not None:
        raise InputError(
            f"warm: {mode} needs a simulator with snapshot() and restore(state), or a program with restart files, and "
            "J is a function"
        )
    return None if mode is None else Warm(mode)


def evaluate_warm(session: Session, warm: Warm, request: Request, task: str) -> Generator[Batch, None, None]:
    """As `distfd.evaluate.evaluate`, each point from the state that the mode asks for.

    Raises
    ------
    ClusterError, StoreError
        As there.
    """
    baseline = request.baseline
    if baseline is None:
        yield from _from(session, warm, request, warm.start, task)
        return
    start = warm.of_baseline(request.points, baseline)
    if warm.mode == "iterate" or len(request.points) == 1:
        warm.use(start if warm.mode == "iterate" else None)
        yield from _from(session, warm, request, start, task)
        if warm.mode == "baseline":
            warm.use(warm.left(request.points, baseline))
        return
    alone, rest = np.array([baseline]), np.delete(np.arange(len(request.points)), baseline)
    first = Request(request.points.take(alone), 0, request.vector, request.lenient)
    good = False
    for batch in _from(session, warm, first, None, task):
        good |= bool((batch.status == Status.OK).any())
        yield _renumbered(batch, alone)
    if good:
        warm.use(warm.left(first.points, 0))
        others = Request(request.points.take(rest), None, request.vector, request.lenient)
        for batch in _from(session, warm, others, warm.start, task):
            yield _renumbered(batch, rest)


def _from(
    session: Session, warm: Warm, request: Request, start: Left | None, task: str
) -> Generator[Batch, None, None]:
    """Evaluate from one state, and remember what the baseline left."""
    keys = request.points.keys(_salt(session.salt, warm.mode, start))
    baseline = request.baseline
    begin = None if start is None else lambda: _state(session, warm, start)
    for batch in evaluate(session, request, task, keys=keys, begin=begin, capture=baseline):
        if baseline is not None and np.any((batch.index == baseline) & (batch.status == Status.OK)):
            warm.note(request, start, bytes(keys[baseline]), batch.states.get(baseline))
        # The state goes no further: what keeps batches would keep it alive.
        yield replace(batch, states={}) if batch.states else batch


def _state(session: Session, warm: Warm, left: Left) -> NDArray[np.uint8]:
    """The state, which may have to be made again, from the first one on whose state is known."""
    chain = [left]
    while chain[-1].state is None and chain[-1].start is not None:
        chain.append(chain[-1].start)
    for link in reversed(chain):
        if link.state is None:
            _make_again(session, warm, link)
    assert left.state is not None, "just made"
    return left.state


def _make_again(session: Session, warm: Warm, left: Left) -> None:
    """Evaluate for the state alone; it counts as an evaluation, under a key of its own."""
    before = None if left.start is None else left.start.state
    keys = left.request.points.keys(secrets.randbits(128))
    begin, batches = time.monotonic(), []
    again = evaluate(
        session,
        left.request,
        "state",
        keys=keys,
        begin=None if before is None else lambda: before,
        capture=left.request.baseline,
    )
    with contextlib.closing(again) as finished:
        for batch in finished:
            left.state = batch.states.get(0, left.state)
            batches.append(replace(batch, states={}))
    warm.again.append((gather(left.request, batches), batches, time.monotonic() - begin))
    if left.state is None:
        raise StateLostError
    left.start = None


class StateLostError(Exception):
    """An evaluation that gave a value before failed when it was made again; ``Warm.again`` has its record."""


def _salt(salt: int, mode: Mode, start: Left | None) -> int:
    if start is None:
        return salt
    digest = hashlib.sha256(f"{salt:x} {mode} ".encode() + start.key).digest()
    return int.from_bytes(digest[:16])


def _place(points: Points, k: int) -> bytes:
    """What a point is, whatever it starts from."""
    return bytes(points.take(np.array([k])).keys()[0])


def _renumbered(batch: Batch, numbers: NDArray[np.int64]) -> Batch:
    """The batch by the numbers that its points have in the whole request."""
    failures = {int(numbers[k]): failure for k, failure in batch.failures.items()}
    return replace(batch, index=numbers[batch.index], failures=failures)
