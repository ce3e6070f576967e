"""What a worker does with a chunk: evaluate its points in a row, check each value, record each failure."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import socket
import subprocess
import time
import traceback
import warnings
from dataclasses import fields, replace
from numbers import Complex, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from distfd.core.failures import EvaluationFailure
from distfd.core.records import DOUBLE, WHOLE, Batch, Failure, Status
from distfd.workers.argument_reuse import ArgumentLender
from distfd.workers.messages import CallBatch, CallChunk, EvaluationChunk
from distfd.workers.process_guard import ProcessGuard
from distfd.workers.spool import SECONDS, leave
from distfd.workers.value_labels import UNLABELLED, LabelReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.workers.messages import Chunk
    from distfd.workers.model import MakesModel, Model

    _Typed: TypeAlias = tuple[NDArray[np.float64], int]
    """A value, and the bits of the number type in which J returned it."""
    _Outcome: TypeAlias = tuple[NDArray[np.float64] | tuple[float], int, int]
    """The same, and the digest of its labels; a single number may be in a tuple."""

    _Row: TypeAlias = tuple[float, float, Status, NDArray[np.float64] | tuple[float], int, int]
    """Begin, end, status, and the outcome."""

_DETAIL_LIMIT = 20_000
_NOTHING = np.empty(0)


class Worker:
    """One process's J: made at the first use, then kept.

    Parameters
    ----------
    own_process : bool
        Whether the process does nothing else. A KeyboardInterrupt in it is then J's own doing; elsewhere it is the
        user's Ctrl-C, and is let through.
    refuses_late : bool
        Whether a value that comes after its time is refused: nobody can end J in this process.
    evaluations : int
        How many this process has made for others before.
    """

    def __init__(
        self,
        objective: MakesModel,
        slot: int = 0,
        *,
        own_process: bool = False,
        refuses_late: bool = False,
        evaluations: int = 0,
    ) -> None:
        self._objective = objective
        self._slot = slot
        self._own_process = own_process
        self._refuses_late = refuses_late
        self._model: Model | None = None
        self._lender = ArgumentLender()
        self._labels = LabelReader()
        self._guard = ProcessGuard()
        self._guarded = False
        """Whether the guard knows the process as J's first point of this chunk finds it."""
        self.evaluations = evaluations
        """How many points this process has evaluated."""
        self.worn = False
        """Whether this process is to be replaced now; it evaluates nothing more."""
        self.interrupt: KeyboardInterrupt | None = None
        """The user's Ctrl-C that cut the last chunk short. Its caller keeps what was finished, and then raises this."""
        self.host = socket.gethostname()
        self.pid = os.getpid()

    def prepare(self) -> None:
        """Make the live J ahead of the first point; what goes wrong here is told by the first point."""
        with contextlib.suppress(Exception, SystemExit, *(KeyboardInterrupt,) * self._own_process):
            self._live()

    def run(self, chunk: Chunk) -> Batch:
        """Evaluate the chunk's points in order until all are done, its budget is spent, or this process has to go.

        One that has to go (see ``Chunk.recycle``) ends J in good order, says so by ``worn``, and evaluates none of what
        it is given then.
        """
        with self._guard.watching_imports():
            return self._run(chunk)

    def _run(self, chunk: Chunk) -> Batch:
        begin = time.monotonic()
        rows: list[_Row] = []
        failures: dict[int, Failure] = {}
        returned: dict[int, Any] = {}
        states: dict[int, NDArray[np.uint8]] = {}
        self._guarded &= self._own_process  # elsewhere, others have changed the process meanwhile
        for k, number in enumerate(chunk.index.tolist()):
            if self.worn or (k and time.monotonic() - begin > chunk.budget):
                break
            started = time.time()
            tick = time.monotonic()
            outcome = self._outcome(chunk, k, states, returned)
            if outcome is None:
                break
            if isinstance(outcome, Failure) and outcome.exception is not None and failures:
                # Frames hold what J had at hand, x first of all: those of one failure will do.
                traceback.clear_frames(outcome.exception.__traceback__)
            seconds = time.monotonic() - tick
            ended = started + seconds
            if self._guarded:
                self._put_back(first=not k)
            if isinstance(chunk, EvaluationChunk) and not isinstance(outcome, Failure):
                outcome = self._in_time(outcome, seconds, chunk.timeout)
            if isinstance(outcome, Failure):
                failures[number] = outcome
                rows.append((started, ended, outcome.status, _partial_value(outcome), DOUBLE, UNLABELLED))
            else:
                rows.append((started, ended, Status.OK, *outcome))
            if isinstance(chunk, EvaluationChunk) and chunk.spool is not None and ended - started >= SECONDS:
                leave(chunk.spool, k, self._batch(chunk.index[k : k + 1], rows[-1:], failures))
            self.evaluations += 1
            self.worn = self.worn or (chunk.recycle is not None and chunk.recycle.due(self.evaluations))
        self._lender.end()
        if self.worn:
            self.close()
        batch = self._batch(chunk.index[: len(rows)], rows, failures)
        return replace(batch, states=states) if isinstance(chunk, EvaluationChunk) else _with_returns(batch, returned)

    def _outcome(
        self, chunk: Chunk, k: int, states: dict[int, NDArray[np.uint8]], returned: dict[int, Any]
    ) -> _Outcome | Failure | None:
        """The value or failure of the chunk's point number k; None where Ctrl-C came and there are finished points."""
        try:
            if isinstance(chunk, EvaluationChunk):
                return self._evaluate(chunk, k, states)
            return self._call(chunk, k, returned)
        except KeyboardInterrupt as error:
            if not k:
                raise
            self.interrupt = error
            return None

    def _in_time(self, value: _Outcome, seconds: float, timeout: float | None) -> _Outcome | Failure:
        """The value, unless it came too late where nobody could end J."""
        if not self._refuses_late or timeout is None or seconds <= timeout:
            return value
        text = (
            f"J took {seconds:.3g} s, more than its timeout of {timeout:g} s: its value is refused; in the caller's "
            "own process (executor='serial') J cannot be ended, use executor='ray' for that"
        )
        return Failure(Status.TIMEOUT, text)

    def _batch(
        self,
        index: NDArray[np.int64],
        rows: list[_Row],
        failures: dict[int, Failure],
    ) -> Batch:
        started, ended, status, values, bits, labels = zip(*rows, strict=True) if rows else ((),) * 6
        return Batch(
            index=index,
            status=np.array(status, dtype=np.uint8),
            size=np.array([len(v) for v in values], dtype=np.int64),
            flat=np.concatenate([_NOTHING, *values]),
            started=np.array(started),
            ended=np.array(ended),
            attempt=np.ones(len(rows), dtype=np.int32),
            host=self.host,
            pid=self.pid,
            slot=self._slot,
            failures=failures,
            bits=None if set(bits) <= {DOUBLE} else np.array(bits, dtype=np.uint8),
            labels=np.array(labels, dtype=np.uint64) if any(labels) else None,
        )

    def close(self) -> None:
        """End the live J; what goes wrong here cannot change a value any more."""
        self._guard.close()
        self._guarded = False
        model, self._model = self._model, None
        try:
            if model is not None:
                model.close()
        except Exception as error:
            warnings.warn(f"J's close() failed: {one_line(error)}", stacklevel=2)

    def _live(self) -> Model:
        if self._model is None:
            self._model = self._objective.make()
            self._guarded = False
        self._guard_it()  # what J's constructor and setup() left is what each point is to find
        return self._model

    def _guard_it(self) -> None:
        if not self._guarded:
            self._guard.remember()
            self._guarded = True

    def _put_back(self, *, first: bool) -> None:
        """Leave the process to the next point as the first one found it; or leave no next point to this process."""
        trouble = self._guard.put_back(first=first)
        if trouble is None:
            return
        if self._own_process:
            self.worn = True
        else:
            self._guarded = False
            warnings.warn(
                f"J has left this process changed, and further points may be of another J: {trouble}; on Ray such a "
                "process is replaced",
                RuntimeWarning,
                stacklevel=2,
            )

    def _evaluate(self, chunk: EvaluationChunk, k: int, states: dict[int, NDArray[np.uint8]]) -> _Outcome | Failure:
        number = int(chunk.index[k])
        left: list[Any] = []

        def called(x: NDArray[Any]) -> Any:
            model = self._live()
            if chunk.state is None and chunk.capture is None:
                return model.evaluate(x, timeout=chunk.timeout)
            # Read again for each point, so that none has in hand what another may change.
            state = None if chunk.state is None else pickle.loads(chunk.state.data)  # noqa: S301  # from a worker
            capture = number == chunk.capture
            raw, after = model.evaluate_from(x, state, timeout=chunk.timeout, capture=capture)
            if capture:
                left.append(after)
            return raw

        def value() -> _Outcome:
            self._live()
            complex_ = chunk.points.values.dtype.kind == "c" and chunk.points.changes(k)[1].dtype.kind == "c"
            with _casts_are_errors() if complex_ and not chunk.lenient else contextlib.nullcontext():
                raw = self._lender.call(called, chunk.points, k)
            if type(raw) is float and math.isfinite(raw) and not (complex_ or chunk.vector or left):
                return (raw,), DOUBLE, UNLABELLED  # what nearly every J returns, and soon done
            try:
                numbers, bits = typed_value(
                    raw,
                    vector=chunk.vector,
                    complex_=complex_,
                    lenient=chunk.lenient,
                    output_names=self._live().output_names,
                )
                return numbers, bits, self._labels.digest(raw) if chunk.vector else UNLABELLED
            except BadValueError as error:
                if not len(error.partial):
                    left.clear()  # nothing starts from where J failed
                raise
            finally:
                states.update((number, _packed_state(state)) for state in left)

        return self._attempt(value)

    def _call(self, chunk: CallChunk, k: int, returned: dict[int, Any]) -> _Outcome | Failure:
        def value() -> _Outcome:
            self._guard_it()
            returned[int(chunk.index[k])] = chunk.fun(chunk.items[k])
            return _NOTHING, DOUBLE, UNLABELLED

        return self._attempt(value)

    def _attempt(self, value: Callable[[], _Outcome]) -> _Outcome | Failure:
        """A value, or why there is none."""
        try:
            return value()
        except EvaluationFailure as error:
            return Failure(error.status, _text(error), error.detail, error)
        except SystemExit as error:
            return Failure(Status.ERROR, f"J called sys.exit({_short(error.code)})", own_traceback(error), error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._own_process:
                raise
            return Failure(Status.ERROR, one_line(error), own_traceback(error), error)


def _with_returns(batch: Batch, returned: dict[int, Any]) -> CallBatch:
    columns = {column.name: getattr(batch, column.name) for column in fields(batch)}
    return CallBatch(**columns, returned=returned)


def _packed_state(state: Any) -> NDArray[np.uint8]:
    """The state as bytes, at once: what the simulator handed out may be a view of what it changes next."""
    try:
        packed = pickle.dumps(state, protocol=5)
    except Exception as error:
        raise EvaluationFailure(
            f"the state that snapshot() returned ({type(state).__qualname__}) cannot be pickled, and so no other "
            f"worker can start from it: {one_line(error)}; return arrays, numbers, bytes, or lists and dicts of these"
        ) from error
    return np.frombuffer(packed, dtype=np.uint8)


@contextlib.contextmanager
def _casts_are_errors() -> Iterator[None]:
    """Inside, numpy's warning that an imaginary part is thrown away is raised: the derivative would be a silent 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield


class BadValueError(EvaluationFailure):
    """J returned what is no value.

    ``partial`` has the numbers of the outputs that do have one, NaN for the others; it is empty where none has.
    """

    def __init__(self, text: str, partial: NDArray[np.float64] = _NOTHING) -> None:
        super().__init__(text)
        self.partial = partial


def _partial_value(failure: Failure) -> NDArray[np.float64]:
    """What a failed evaluation gave of J's outputs, which the exception need not carry any further."""
    error = failure.exception
    if not isinstance(error, BadValueError):
        return _NOTHING
    partial, error.partial = error.partial, _NOTHING
    return partial


def as_value(raw: Any, *, vector: bool, complex_: bool = False, lenient: bool = False) -> NDArray[np.float64]:
    """What J returned as a fresh (m,) float64 array; m is 1 unless ``vector``.

    Parameters
    ----------
    complex_ : bool
        The point is complex, so the value may be; it is given as 2m numbers, real and imaginary parts in turn.
    lenient : bool
        NaN and inf are values too.

    Raises
    ------
    BadValueError
        If it is not finite and real, or not a number (int, float, numpy real, 0-d or (1,) array); for a vector J,
        if it is not one-dimensional.
    """
    return typed_value(raw, vector=vector, complex_=complex_, lenient=lenient)[0]


def typed_value(
    raw: Any,
    *,
    vector: bool,
    complex_: bool = False,
    lenient: bool = False,
    output_names: Callable[[int], Sequence[str] | None] | None = None,
) -> _Typed:
    """The value as `as_value` gives it, and the bits of the number type that J returned (`records.DOUBLE`, `WHOLE`).

    ``output_names`` is what so many outputs are called in a message, where they have names.
    """
    if type(raw) is float and not complex_ and math.isfinite(raw):
        return np.array((raw,)), DOUBLE  # what nearly every J returns, and soon done
    if not _may_be_numbers(raw, Complex if complex_ else Real, vector=vector):
        raise _refused(_returned(raw), vector)
    try:
        # A whole number of any size is a number; numpy takes those past 64 bits for objects.
        array = np.array(float(raw) if isinstance(raw, int) else raw)
    except Exception as error:  # raw may be of a class that has its own ideas
        raise _refused(f"{_returned(raw)}: {_text(error)}", vector) from error
    if array.dtype.kind not in ("fiuc" if complex_ else "fiu") and not _is_short_float(array.dtype):
        raise _refused(f"{_returned(raw)} of dtype {array.dtype}", vector)
    if array.ndim > 1 or array.size == 0 or (array.size > 1 and not vector):
        hint = "; for several outputs use jacobian" if array.ndim == 1 and array.size else ""
        raise _refused(f"an array of shape {array.shape}{hint}", vector)
    with np.errstate(all="ignore"):  # of a long double; what overflows is infinite then, and refused
        value = array.astype(np.complex128 if complex_ else np.float64, copy=False).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad) and not lenient:
        text = f"J returned {value[bad[0]]}"
        if value.size == 1:
            raise BadValueError(text)
        names = None if output_names is None else output_names(value.size)
        more = f" and {len(bad) - 1} more of {value.size}" if len(bad) > 1 else ""
        whole = len(bad) == value.size
        none = complex(np.nan, np.nan) if complex_ else np.nan
        partial = _NOTHING if whole else np.where(np.isfinite(value), value, none).view(np.float64)
        raise BadValueError(f"{text} at output {names[bad[0]] if names else bad[0]}{more}", partial)
    return value.view(np.float64), WHOLE if isinstance(raw, int) else _bits(array.dtype)


def _bits(dtype: np.dtype[Any]) -> int:
    """Bits of a number type's significand, at most those of the double that it is made into."""
    if dtype.kind in "iu":
        return WHOLE
    if dtype.kind in "fc":
        return min(int(np.finfo(dtype).nmant), DOUBLE)
    one = np.ones((), dtype)
    return next(n for n in range(DOUBLE, 0, -1) if (one + np.array(2.0**-n, dtype)).astype(np.float64) != 1.0)


def _is_short_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float that numpy itself does not have, as JAX's bfloat16."""
    return dtype.kind == "V" and dtype.names is None and dtype.name.startswith(("bfloat", "float"))


def _may_be_numbers(raw: Any, number: type, *, vector: bool) -> bool:
    if isinstance(raw, (bool, np.bool_)):
        return False
    if isinstance(raw, (list, tuple)):
        return vector and not any(isinstance(entry, (bool, np.bool_)) for entry in raw)
    if isinstance(raw, np.ma.MaskedArray):
        return not np.ma.is_masked(raw)  # numpy would give what lies under the mask, often a 0
    # Arrays of other libraries (torch, jax) are welcome where numpy can read them.
    return isinstance(raw, (number, np.ndarray)) or (hasattr(raw, "__array__") and not isinstance(raw, np.generic))


def _refused(what: str, vector: bool) -> BadValueError:
    wanted = "a number or a one-dimensional array" if vector else "a number"
    return BadValueError(f"J must return {wanted}; it returned {what}")


def _returned(raw: Any) -> str:
    kind = f"{type(raw).__module__}.{type(raw).__qualname__}".removeprefix("builtins.")
    hint = "; does it lack a return?" if raw is None else ""
    return f"{_short(raw)} ({kind}){hint}"


def one_line(error: BaseException) -> str:
    """Type and message of an exception, on one line of bounded length."""
    text = _text(error)
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception:
        return "(its message cannot be read)"


def own_traceback(error: BaseException) -> str:
    """The traceback from J's first frame on: distfd's own frames above it say nothing to the user."""
    frame = error.__traceback__
    here = Path(__file__).parents[1]
    while frame is not None and Path(frame.tb_frame.f_code.co_filename).is_relative_to(here):
        frame = frame.tb_next
    text = "".join(traceback.format_exception(type(error), error, frame))
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        # Of a program whose output was captured, Python's own words hold the exit code alone.
        said = error.stderr if isinstance(error.stderr, str) else error.stderr.decode(errors="replace")
        text += f"--- the program's stderr:\n{said[-_DETAIL_LIMIT // 2 :]}"
    return text[-_DETAIL_LIMIT:]


def _short(raw: Any) -> str:
    try:
        text = " ".join(repr(raw).split())
    except Exception:
        return "a value whose repr fails"
    return text if len(text) <= 80 else text[:77] + "..."
