"""The messages between the driver and a slot's worker: chunks of work to the worker, reports back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from distfd.core.records import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Failure
    from distfd.workers.recycle import Recycle
    from distfd.workers.spool import Spool


@dataclass(frozen=True, eq=False)
class EvaluationChunk:
    """Points that one slot evaluates in a row, handed back after ``budget`` seconds at the latest.

    The budget is looked at between points: what was not begun by then comes back unevaluated.
    """

    id: int
    index: NDArray[np.int64]
    """The points' numbers in their request."""
    points: Points
    vector: bool
    """Whether J may have more than one output."""
    timeout: float | None
    """Seconds that one evaluation may take."""
    budget: float
    lenient: bool = False
    """Whether a NaN or inf is a value."""
    state: NDArray[np.uint8] | None = None
    """The state from which each of the points is evaluated, pickled (`Model.evaluate_from`); None for J's own first
    one."""
    capture: int | None = None
    """Number of the point after which J's state is wanted, in ``Batch.states``."""
    recycle: Recycle | None = None
    """When the process that evaluates is to be replaced."""
    spool: Spool | None = None
    """Where long evaluations are left as files too, in case the driver dies."""


@dataclass(frozen=True, eq=False)
class CallChunk:
    """Calls of a function that is not J, with items that are no points; made and handed back as a chunk of points is.

    What they return is in a `CallBatch`.
    """

    id: int
    index: NDArray[np.int64]
    """The items' numbers."""
    fun: Callable[[Any], Any]
    items: tuple[Any, ...]
    timeout: float | None
    budget: float
    recycle: Recycle | None = None
    series: object = None
    """The same object in all chunks of one map: an executor may send the function ahead of them once."""


Chunk: TypeAlias = EvaluationChunk | CallChunk


@dataclass(frozen=True, eq=False)
class CallBatch(Batch):
    """Finished calls: a batch without values, and what each call returned."""

    returned: Mapping[int, Any] = field(default_factory=dict)
    """By the item's number; calls that failed are not in it."""


@dataclass(frozen=True)
class SlotUp:
    """A slot is ready for chunks."""

    slot: int
    host: str
    pid: int
    output: str = ""
    """The file on its host that its standard output goes to, where that is one."""


@dataclass(frozen=True)
class SlotStarting:
    """A slot's process is there and makes J ready; chunks come once it is up."""

    slot: int
    host: str
    pid: int


@dataclass(frozen=True, eq=False)
class ChunkDone:
    """What a slot made of a chunk: the first ``len(batch)`` of its points.

    After the last batch of a process that is to be replaced the slot is lost (LOST, as nobody is to blame) and comes up
    again.
    """

    slot: int
    chunk: int
    batch: Batch


@dataclass(frozen=True)
class SlotLost:
    """A slot's process is gone with all the chunks it had; the executor is starting another in its place."""

    slot: int
    failure: Failure
    shared: bool = False
    """Whether the cause may be what else was at work on its host, as where memory runs out."""


Report: TypeAlias = SlotStarting | SlotUp | ChunkDone | SlotLost
