"""Records of evaluations and results: frozen dataclasses and columns, no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


DOUBLE = np.finfo(np.float64).nmant
"""Stored bits of a float64's significand: neighbouring numbers differ by 2^-52 of their size. A float32 has 23."""
WHOLE = 0
"""Used instead of these bits if J returned integers, which differ by 1 whatever their size is."""


class Status(IntEnum):
    """How an evaluation ended."""

    NOT_RUN = 0
    OK = 1
    ERROR = 2
    """J raised, or returned what is no value (NaN, inf, a string, the wrong shape)."""
    CRASH = 3
    """The process that ran J died: a signal, an exit, no memory left."""
    TIMEOUT = 4
    LOST = 5
    """The node went away; never J's fault and never charged."""
    CANCELLED = 6

    @property
    def word(self) -> str:
        """The status as files and messages spell it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Failure:
    """The reason why an attempt failed.

    ``text`` is one line (``ValueError: negative width``). ``detail`` is the traceback of J, or the last lines of the
    program's output. ``exception`` is the original exception, if it could be sent to the driver.
    """

    status: Status
    text: str
    detail: str = ""
    exception: BaseException | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Finished evaluations as columns; row r is evaluation ``index[r]`` of its request.

    Rows have different lengths: row r has ``size[r]`` consecutive numbers of ``flat`` (0 if it failed, 1 for a scalar
    J). A complex number takes two of them, real part first. For a row that failed in some outputs only, see `partial`.
    Times are seconds since the epoch by the clock of ``host``.
    """

    index: NDArray[np.int64]
    status: NDArray[np.uint8]
    size: NDArray[np.int64]
    flat: NDArray[np.float64]
    started: NDArray[np.float64]
    ended: NDArray[np.float64]
    attempt: NDArray[np.int32]
    """1 for a first try."""
    host: str
    pid: int
    slot: int
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """Failures by number in the request (``index``), for failed rows only."""
    reused: bool = False
    """Whether the rows come from the store."""
    states: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Pickled states of J after evaluations, by number in the request, where they were asked for."""
    bits: NDArray[np.uint8] | None = None
    """For each row, the bits of the number type that J returned (see `DOUBLE` and `WHOLE`); None if all are doubles."""
    labels: NDArray[np.uint64] | None = None
    """For each row, a digest of the labels of J's outputs in their order, 0 without labels; None if no row has any."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each row starts in ``flat``: row r is ``flat[offsets[r]:offsets[r + 1]]``."""
        return np.concatenate(([0], np.cumsum(self.size)))

    @property
    def partial(self) -> NDArray[np.bool_]:
        """Rows that failed in some of J's outputs only: they have numbers nevertheless, NaN for the failed outputs."""
        return np.asarray((self.status == Status.ERROR) & (self.size > 0))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Batch:
        """A batch with only these rows."""
        rows = np.arange(len(self))[rows]
        size = self.size[rows]
        ends = np.cumsum(size)
        flat = np.arange(size.sum()) + np.repeat(self.offsets[rows] - (ends - size), size)
        index = self.index[rows]
        kept = set(index.tolist()) if self.failures else set()
        return replace(
            self,
            index=index,
            status=self.status[rows],
            size=size,
            flat=self.flat[flat],
            started=self.started[rows],
            ended=self.ended[rows],
            attempt=self.attempt[rows],
            failures={k: f for k, f in self.failures.items() if k in kept},
            bits=None if self.bits is None else self.bits[rows],
            labels=None if self.labels is None else self.labels[rows],
        )


_NONE: NDArray[Any] = np.empty(0)
NOTHING = Batch(
    index=_NONE.astype(np.int64),
    status=_NONE.astype(np.uint8),
    size=_NONE.astype(np.int64),
    flat=_NONE,
    started=_NONE,
    ended=_NONE,
    attempt=_NONE.astype(np.int32),
    host="",
    pid=0,
    slot=-1,
)
"""The batch of a slot that did not start any of its points."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One attempt at one point, as an object (made on demand; the program itself works on columns).

    ``changes`` are the coordinates in which the point differs from the request's x, as (index, value) pairs. Numbers
    are complex at the points of a complex step, and floats elsewhere.
    Times are seconds since the epoch by the clock of ``host``.
    """

    index: int
    label: str
    status: Status
    value: complex | NDArray[Any] | None
    changes: tuple[tuple[int, complex], ...]
    attempt: int
    started: float
    ended: float
    host: str
    pid: int
    slot: int
    reused: bool
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """How long J took, in seconds."""
        return self.ended - self.started
