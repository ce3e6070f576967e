"""The seams between the loop and its adapters: small protocols, one or two methods each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch, Failure
    from distfd.results.events import Event
    from distfd.workers.recycle import Recycle
    from distfd.workers.spool import Spool


class Model(Protocol):
    """A live J inside one worker process."""

    def evaluate(self, x: NDArray[Any], *, timeout: float | None) -> Any:
        """J at x, (d,), float64 or (for the complex step) complex128, which it may keep or write to.

        Whatever it raises becomes a failed evaluation.
        """

    def close(self) -> None:
        """Free what the model holds; called once, when the worker ends in good order."""


class WarmModel(Model, Protocol):
    """A live J that can begin an evaluation where another has ended."""

    def evaluate_from(self, x: NDArray[Any], state: Any, *, timeout: float | None, capture: bool) -> tuple[Any, Any]:
        """J at x, and the state that it is in then.

        Parameters
        ----------
        state : object or None
            What an earlier call gave back, in whatever process, as a copy that is this call's own; None for the state
            in which every evaluation begins otherwise.
        capture : bool
            Whether the state afterwards is asked for: plain data, which goes to other processes.
        """


class Objective(Protocol):
    """The description of J that the driver holds: picklable, without live state."""

    @property
    def limits_itself(self) -> bool:
        """Whether ``Model.evaluate`` ends itself at its timeout; if not, the executor ends its process."""

    def fingerprint(self) -> str | None:
        """A digest of all that J's value depends on beside x; None where that cannot be told across processes."""

    def make(self) -> Model:
        """Make the live J; called once in each worker process."""


@dataclass(frozen=True, eq=False)
class Calls:
    """Calls of a function that is not J, with items that are no points."""

    fun: Callable[[Any], Any]
    items: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Points that one slot evaluates in a row, handed back after ``budget`` seconds at the latest.

    The budget is looked at between points: what was not begun by then comes back unevaluated.
    """

    id: int
    index: NDArray[np.int64]
    points: Points
    vector: bool
    timeout: float | None
    budget: float
    lenient: bool = False
    """Whether a NaN or inf is a value."""
    calls: Calls | None = None
    """Made in the place of evaluations, if given; ``points`` are then without meaning."""
    state: NDArray[np.uint8] | None = None
    """The state from which each of the points is evaluated, pickled; None for J's own first one. J is then a
    `WarmModel`."""
    capture: int | None = None
    """Number of the point after which J's state is wanted, in ``Batch.states``. J is then a `WarmModel`."""
    recycle: Recycle | None = None
    """When the process that evaluates is to be replaced."""
    spool: Spool | None = None
    """Where long evaluations are left as files too, in case the driver dies."""


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

    After a batch that is its process's last the slot is lost (LOST, as nobody is to blame) and comes up again.
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


Report = SlotStarting | SlotUp | ChunkDone | SlotLost


class Executor(Protocol):
    """Slots that evaluate chunks; one driver thread calls it."""

    def open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        """Start the slots, if they are not there already for this objective; those that are up, or about to be.

        Returns before the others are up. Each of them announces itself by a SlotUp from ``wait``, after a SlotStarting
        where to make J ready happens in a process of its own.
        """

    @property
    def slots(self) -> int:
        """How many slots there are, up or starting."""

    @property
    def duplicates_are_free(self) -> bool:
        """Whether what an idle slot does in vain costs nothing, no licence among it."""

    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot."""

    def wait(self, seconds: float) -> Sequence[Report]:
        """What happened since the last call; returns at the first news, or empty after that many seconds."""

    def kill(self, slot: int) -> None:
        """End a slot's process and all it started, at once, and start another in its place.

        No report follows but the SlotUp of the new one.
        """

    def close(self) -> None:
        """Give every slot back."""


class Store(Protocol):
    """Values by the identity of their points (see `Points.keys`)."""

    def get(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(rows, size, flat): which of the (n, 2) keys have a value, and the values, ragged as in `Batch`."""

    def put(self, keys: NDArray[np.uint64], batch: Batch) -> None:
        """Keep finished attempts; ``keys`` has a row for each row of the batch. Durable when it returns."""

    def seconds(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(index, seconds): number in its request, and duration, of the latest evaluations kept by earlier processes.

        A hint for the order of work, no more; empty where none is at hand.
        """

    def close(self) -> None:
        """Release the store."""


class Observer(Protocol):
    """Sees what happens and changes nothing."""

    def __call__(self, event: Event) -> None:
        """Take one event."""
