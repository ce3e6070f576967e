"""Methods: pure functions from the values known so far to the next points or the answer, in one or more rounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from distfd.core.describe import numbered
from distfd.core.errors import InputError
from distfd.core.records import Status
from distfd.differentiation.steps import as_real

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.core.points import Points
    from distfd.core.records import Failure
    from distfd.differentiation.consistency import Consistency


@dataclass(frozen=True, eq=False)
class Request:
    """Points whose values a method wants.

    ``baseline`` is the number of the point that all others depend on: it is issued first, and its failure ends the
    wave. ``fatal`` says whether that failure is also an error. ``vector`` says whether J may have more than one output,
    and ``lenient`` whether a NaN or inf counts as a value. ``outputs`` is the number of J's outputs, where an earlier
    request has shown it and this request has no baseline.

    ``optional`` has the numbers of points that the method can do without: they only check the others, and their failure
    is no error. They go out last, are tried once and on one slot, and are cancelled if they are still running when all
    others are done. They are evaluated only on slots that would be idle in the wave's last round, and left out
    otherwise (`Status.NOT_RUN`). With ``insist`` they are evaluated in any case.
    """

    points: Points
    baseline: int | None = None
    vector: bool = False
    lenient: bool = False
    outputs: int | None = None
    fatal: bool = True
    optional: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    insist: bool = False


@dataclass(frozen=True, eq=False)
class Wave:
    """A request and its result: values (n, m), NaN where there is none, and the status of each point.

    The values are complex where the request has complex points. ``bits`` gives each point's own number type (see
    `distfd.core.records.DOUBLE`), (n,); None where all are doubles. If J has several outputs, a point may have values
    for some of them and NaN for the others; its status is then that of a failure.
    """

    request: Request
    values: NDArray[Any]
    status: NDArray[np.uint8]
    failures: Mapping[int, Failure] = field(default_factory=dict)
    bits: NDArray[np.uint8] | None = None

    @cached_property
    def required(self) -> Wave:
        """The wave without its optional points: only the values that the derivative is computed from.

        Optional points beside complex points stay: they are evaluated whether slots are idle or not.
        """
        optional = self.request.optional
        if not len(optional) or self.request.points.imaginary.any():
            return self
        kept = np.setdiff1d(np.arange(len(self.values)), optional)
        points = self.request.points.take(kept)
        baseline = None if self.request.baseline is None else int(np.searchsorted(kept, self.request.baseline))
        request = replace(self.request, points=points, baseline=baseline, optional=np.zeros(0, dtype=np.int64))
        left_out = set(optional.tolist())
        failures = {int(np.searchsorted(kept, k)): f for k, f in self.failures.items() if k not in left_out}
        bits = None if self.bits is None else self.bits[kept]
        return Wave(request, self.values[kept], self.status[kept], failures, bits)


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a method.

    ``derivative`` has shape (d,), (m, d), or the shape of its kind, and may be sparse. It is NaN at the ``missing``
    coordinates, those that lack a value or whose difference overflows. ``value`` is J(x), (m,). ``step`` is (d,), 0 at
    coordinates that do not move. ``error`` is None or has the derivative's shape. ``warnings`` are sentences for the
    user that name coordinates. ``noise`` is the noise level of J where the method used it. ``scheme`` names the scheme
    where it is not the one that was asked for. ``axis`` says what an element of ``step`` and ``missing`` stands for.
    ``scale`` is the typical size of each coordinate, (d,), where the method searched for it. ``repaired`` describes
    components that were formed from other points than planned. ``structure`` is the structure of a sparse Jacobian
    whose method searched for it; the next x can use it. ``consistency`` is the result of a directional check, None
    where there was none. In that case ``unchecked`` is the number of further points that a check would have taken, 0
    where the user wants none or none is possible. ``kinks`` is half the difference of the one-sided slopes at a kink, 0
    elsewhere, of the derivative's shape; ``typical_slope`` is the size of J's slopes over long distances, (m,), for
    each scale that x moves. ``shortest_noise`` is the noise level over the shortest distances that were tried, (m,).
    All three are None where the method did not look for them.
    """

    derivative: Any
    value: NDArray[np.float64]
    step: NDArray[np.float64]
    missing: NDArray[np.int64]
    error: Any = None
    warnings: tuple[str, ...] = ()
    noise: float | None = None
    scheme: str | None = None
    axis: Literal["coordinate", "direction"] = "coordinate"
    repaired: Mapping[int, str] = field(default_factory=dict)
    scale: NDArray[np.float64] | None = None
    structure: Any = None
    consistency: Consistency | None = None
    unchecked: int = 0
    kinks: Any = None
    shortest_noise: NDArray[np.float64] | None = None
    typical_slope: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class PointValues:
    """J at the points that were asked for: values (n, m), NaN where there is none; ``missing`` numbers those points."""

    values: NDArray[Any]
    missing: NDArray[np.int64]


T = TypeVar("T")
A_co = TypeVar("A_co", bound=Answer | PointValues, covariant=True)


class Method(Protocol[A_co]):
    """Asks for points, repeatedly if it has to, until it can answer."""

    def advance(self, waves: Sequence[Wave]) -> Request | A_co:
        """The next points, or the answer; ``waves`` holds every earlier request with its values."""


@dataclass(frozen=True, eq=False)
class Values:
    """A method that wants J itself at given points, without a derivative."""

    points: Points
    vector: bool = False
    lenient: bool = False

    def advance(self, waves: Sequence[Wave]) -> Request | PointValues:
        """All points at once."""
        if not waves:
            return Request(self.points, None, self.vector, self.lenient)
        return PointValues(waves[0].values, np.flatnonzero(waves[0].status != Status.OK))


@dataclass(frozen=True, eq=False)
class Value:
    """A method that wants J(x) alone: an answer without a derivative. ``points`` holds x, and nothing else."""

    points: Points
    vector: bool = True

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The request for the baseline, then the answer."""
        if not waves:
            return Request(self.points, 0, self.vector)
        none = np.zeros(0, np.int64)
        return Answer(np.empty(0), waves[0].values[0], np.zeros(len(self.points.x)), none)


def check_x(
    x0: ArrayLike,
    lower: NDArray[np.float64] | None = None,
    upper: NDArray[np.float64] | None = None,
    label: Callable[[int], str] = numbered,
) -> NDArray[np.float64]:
    """Checks x and returns it as a read-only (d,) float64 copy.

    Raises
    ------
    InputError
        If x is not one finite real number or a one-dimensional array of them, or lies outside the bounds.
    """
    x = np.atleast_1d(as_real("x0", x0))
    if x.ndim != 1 or not len(x):
        hint = "; a dict may hold arrays of any shape, such as {'x': x0}: J gets it as it is" if x.ndim > 1 else ""
        if x.ndim == 2 and 1 in x.shape:
            hint += "; numpy.ravel(x0) has one dimension"
        raise InputError(f"x0: must be a one-dimensional array of real numbers (had shape {x.shape}){hint}")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        k = int(bad[0])
        given = np.atleast_1d(np.asarray(x0, dtype=object))[k]
        raise InputError(f"x0: {label(k)} is {x[k] if given is not None else None}; every coordinate must be finite")
    if lower is not None and upper is not None:
        outside = np.flatnonzero((x < lower) | (x > upper))
        if len(outside):
            k = int(outside[0])
            raise InputError(
                f"x0: {label(k)} = {float(x[k])!r} is outside its bounds [{lower[k]}, {upper[k]}]; move it inside, or "
                "widen them"
            )
    x.setflags(write=False)
    return x


_ROUND_OFF = 4 * float(np.finfo(np.float64).eps)
"""How far outside its bounds round-off may put a coordinate, relative to the largest of it and its finite bounds."""


def onto_bounds(x: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves coordinates that are outside their bounds by round-off (4 units in the last place) onto the bounds.

    Whatever computes x, an optimiser or a change of units, may round past a bound. A coordinate further out stays
    there.
    """
    size = np.abs(x)
    for bound in (lower, upper):
        size = np.maximum(size, np.where(np.isfinite(bound), np.abs(bound), 0.0))
    near = np.clip(x, lower, upper)
    outside = (x < lower) | (x > upper)
    with np.errstate(all="ignore"):  # underflow and overflow, where the caller has numpy raise them
        return np.where(outside & (np.abs(near - x) <= _ROUND_OFF * size), near, x)


MultiRound: TypeAlias = Generator[Request, Wave, Answer]


@dataclass(eq=False)
class _SoFar(Generic[T]):
    """A generator; None once it has ended. The waves that it has been sent, and what it said before and after each."""

    course: Generator[Request, Wave, T] | None = None
    sent: list[Wave] = field(default_factory=list)
    said: list[Request | T] = field(default_factory=list)

    def after(self, waves: Sequence[Wave], start: Callable[[], Generator[Request, Wave, T]]) -> Request | T:
        """What the generator says after these waves: it goes on, or starts anew where it has been sent others."""
        if not self.said or any(new.values is not old.values for new, old in zip(waves, self.sent, strict=False)):
            self.course, self.sent, self.said = start(), [], []
            self._go_on(None)
        for wave in waves[len(self.sent) :]:
            if self.course is None:
                break
            self.sent.append(wave)
            self._go_on(wave)
        return self.said[min(len(waves), len(self.said) - 1)]

    def _go_on(self, wave: Wave | None) -> None:
        assert self.course is not None
        try:
            self.said.append(next(self.course) if wave is None else self.course.send(wave))
        except StopIteration as stop:
            self.course = None
            self.said.append(stop.value)
        except BaseException:
            self.said.clear()  # it cannot go on from here
            raise


class Course(ABC, Generic[T]):
    """A method that is written as a generator: it yields requests, is sent their waves, and returns the answer.

    `advance` stays a function of the waves alone. It goes on with the generator that has been sent the first of them,
    so that methods within methods do not run from their start at each step.
    """

    @abstractmethod
    def _course(self) -> Generator[Request, Wave, T]:
        """The generator, from its start."""

    @cached_property
    def _so_far(self) -> _SoFar[T]:
        return _SoFar()

    def advance(self, waves: Sequence[Wave]) -> Request | T:
        """The next request, or the answer, after these waves."""
        return self._so_far.after(waves, self._course)


def follow(course: Generator[Request, Wave, T], waves: Sequence[Wave]) -> Request | T:
    """The next request, or the result, of a generator that is sent these waves from its start."""
    return _SoFar[T]().after(waves, lambda: course)
