"""What happens in a run, as small frozen records that observers are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.records import Batch, Failure
    from distfd.results.derivative_result import DerivativeResult


@dataclass(frozen=True)
class WaveStarted:
    """A request's points are about to be evaluated."""

    task: str
    n_points: int
    n_reused: int
    slots: int


@dataclass(frozen=True, eq=False)
class BatchFinished:
    """Evaluations that are final."""

    batch: Batch


@dataclass(frozen=True)
class AttemptFailed:
    """One attempt at one point failed; ``label`` names the point."""

    label: str
    attempt: int
    failure: Failure
    again: bool
    """Whether it is tried once more."""
    host: str
    pid: int


@dataclass(frozen=True)
class SlotStarted:
    """A worker process is ready."""

    slot: int
    host: str
    pid: int
    output: str = ""
    """The file on its host that its standard output goes to, where that is one."""


@dataclass(frozen=True)
class Running:
    """What slots are at; told about once a second while evaluations take longer than that."""

    n_points: int
    """Points that are with slots, running or next."""
    busy: int
    """Slots that are at work."""
    longest: str
    """What the slot that has been at it for longest evaluates, or how many points."""
    seconds: float
    """For how long."""


@dataclass(frozen=True)
class Waiting:
    """Nothing has run for a while, and why."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class WaveEnded:
    """A request's points are all final."""

    task: str
    n_evaluations: int
    n_failed: int
    wall_seconds: float
    ideal_seconds: float


@dataclass(frozen=True, eq=False)
class Iterated:
    """An optimizer took a step to x (d,), with the value there."""

    iteration: int
    x: NDArray[np.float64]
    value: float
    gradient_norm: float | None = None
    """Euclidean norm of the gradient at x, where it is known."""
    measure: str = "J"
    """What the value is: "J", or "cost" in a fit."""


@dataclass(frozen=True, eq=False)
class Differentiated:
    """A derivative at x (d,) is known."""

    x: NDArray[np.float64]
    result: DerivativeResult


@dataclass(frozen=True, eq=False)
class Improved:
    """An optimizer knows J and its gradient at x (d,), and no better point; ``result`` is of what is minimised."""

    x: NDArray[np.float64]
    result: DerivativeResult


@dataclass(frozen=True)
class Stopped:
    """The slots were given back: nothing runs any more, whether all went well or not."""


Event = (
    WaveStarted
    | BatchFinished
    | AttemptFailed
    | SlotStarted
    | Running
    | Waiting
    | WaveEnded
    | Iterated
    | Differentiated
    | Improved
    | Stopped
)
